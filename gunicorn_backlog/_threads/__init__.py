"""OS threads, locks and sockets, even if gevent or eventlet patched the modules."""
