"""Proxies on real sockets: a link as slow as a trace says, and one that breaks connections on purpose."""
