"""`python -m support.zygote DESCRIPTOR`: a process that has imported what a node needs, and becomes nodes by forking.

To import all of it takes a second of CPU, which every node of every test would pay. Asked over a socket of packets:
each request has its own socket beside it, on which the answer comes, and the files that are to be the node's output.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys

_MOST_BYTES = 256 << 10


def main(descriptor: int) -> None:
    from store_server.grpc_threads import poll_where_grpc_waits

    poll_where_grpc_waits()
    import store_server.commands.serve
    import store_server.serving  # noqa: F401  # what `serve` imports when it runs

    with socket.socket(fileno=descriptor) as requests, selectors.DefaultSelector() as waiting:
        waiting.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is requests:
                    message, files, _, _ = socket.recv_fds(requests, _MOST_BYTES, 3)
                    if not message:
                        return
                    pidfd, answers = _fork(json.loads(message), files, (descriptor, waiting.fileno()))
                    waiting.register(pidfd, selectors.EVENT_READ, answers)
                else:
                    waiting.unregister(key.fd)
                    _tell_end(key.fd, key.data)


def _fork(request: dict, files: list[int], ours: tuple[int, ...]) -> tuple[int, tuple[int, socket.socket]]:
    answer, stdout, stderr = files
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _become_a_node(request, stdout, stderr, (answer, *ours))
    os.close(stdout)
    os.close(stderr)
    answers = socket.socket(fileno=answer)
    answers.send(str(pid).encode())
    return os.pidfd_open(pid), (pid, answers)


def _tell_end(pidfd: int, told: tuple[int, socket.socket]) -> None:
    pid, answers = told
    os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    with answers:
        try:
            answers.send(str(os.waitstatus_to_exitcode(status)).encode())
        except OSError:  # nobody wants to know
            return


def _become_a_node(request: dict, stdout: int, stderr: int, others: tuple[int, ...]) -> None:
    """Run the command line as a process of its own would, and end."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        for descriptor in {stdout, stderr, *others} - {0, 1, 2}:
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["directory"])
        sys.argv = ["engram-store", *request["arguments"]]
        from store_server.entry_point import main as run

        code = run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
