"""pydisque: client, worker and server for Disque, the distributed job queue."""

__version__ = "1.0.0.dev0"
