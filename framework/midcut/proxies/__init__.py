"""TCP proxies on real sockets: one that emulates a slow link, and one that breaks connections on purpose."""
