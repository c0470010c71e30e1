"""Several processes that serve one data root: a parent that starts them, and what each of them runs.

The parent (`supervisor`) never serves. It hands each worker a pair of sockets (`channel`): one for what they tell each
other, one for memory that all share (`kept_files`). A worker that dies is started again in its place: on its port,
with the rows in RAM as they are.
"""
