"""A Disque node written in Python: `Server` runs it in a thread, a loop or a process."""

from pydisque.node.server import Server

__all__ = ["Server"]
