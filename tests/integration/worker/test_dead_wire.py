"""A wire to the node that was dead for a while, and over which connections stay dead for ever."""

from __future__ import annotations

from harness.chaos.proxy import Proxies
from pydisque.client import Client
from pydisque.worker import Worker
from support.servers import NodeProcess, until

from . import handlers


def test_leases_are_kept_over_new_connections(notes):
    """Once jobs come again, their leases are kept, whatever became of the renewals' connection."""
    with NodeProcess() as node, Proxies() as proxies, Client(node.address) as client:
        wire = proxies.to(node.port)
        worker = Worker(wire.address, executor="threads", concurrency=2)
        worker.handler("q")(handlers.plain)
        with worker:
            first = client.add_job("q", "sleep 1", retry=2)  # so that there have been renewals
            until(lambda: client.show(first) is None)
            proxies.do(wire.fall_silent())
            proxies.do(wire.speak())
            second = client.add_job("q", "x", retry=2)
            until(lambda: client.show(second) is None, 20)
            long = client.add_job("q", "sleep 4", retry=2)
            until(lambda: client.show(long) is None, 20)
        assert notes.attempts(long) == [1]
