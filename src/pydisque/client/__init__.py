"""Client and AsyncClient: Disque's commands as methods, over one failover and resend policy.

A command walks down from a client over its transport to a connection, and its reply comes back as a
return value. Must not know the node or the worker.
"""

from redis.exceptions import ConnectionError  # noqa: A004

from pydisque.client.async_client import AsyncClient, AsyncReceivedJob
from pydisque.client.client import Client, ReceivedJob

__all__ = ["AsyncClient", "AsyncReceivedJob", "Client", "ConnectionError", "ReceivedJob"]
