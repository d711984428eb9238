"""Listening sockets and a channel to the watcher -> HTTP: metrics, JSON, a page to look at.  It holds no monitor."""
