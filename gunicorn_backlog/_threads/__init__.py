"""Real OS threads, locks and sockets, even where gevent patched the modules."""
