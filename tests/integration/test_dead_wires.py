"""Connections that are open and dead: no packet comes back, as behind a firewall that forgot."""

from __future__ import annotations

import time

from harness.chaos.proxy import Proxies
from pydisque.client.async_client import AsyncClient
from support.servers import NodeProcess


async def test_no_dead_connection_is_used_when_a_node_is_come_back_to():
    """A node that fell silent is reached anew later, not over what was open before the silence."""
    with NodeProcess() as first, NodeProcess() as second, Proxies() as proxies:
        wire = proxies.to(first.port)
        async with AsyncClient([wire.address, second.address], socket_timeout=2) as client:
            await client.ping()
            await client.get_job(["none"], timeout=10)
            proxies.do(wire.fall_silent())
            began = time.monotonic()
            id_ = second.ask("ADDJOB", "q", "body", 0)
            jobs = await client.get_job(["q"], timeout=100)
            assert [job[1] for job in jobs] == [id_]
            assert time.monotonic() - began > 1.5
            proxies.do(wire.speak())
            second.kill()
            began = time.monotonic()
            await client.ping()
            assert time.monotonic() - began < 1.5
