"""Where the nodes of a cluster agree: a file that somebody writes, or etcd, behind two small interfaces."""
