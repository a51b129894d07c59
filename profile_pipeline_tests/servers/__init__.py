"""Servers that tests talk to over real sockets, each as a process of its own."""
