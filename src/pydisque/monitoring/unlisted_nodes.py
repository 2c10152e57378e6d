"""Nodes that somebody named and that those which answer know nothing of.

They may be down: nodes on a Valkey forget each other in seconds. They may be of another system, so
that nothing of theirs is shown. Or they are known by another name, and so are not absent at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.exceptions import RedisError

from pydisque.monitoring.probe import Probe
from pydisque.protocol.addresses import Address


class Absent:
    """Those of the nodes that were given."""

    def __init__(self, given: Sequence[Address]) -> None:
        self._given = given
        self.probes: dict[str, Probe] = {}
        """By the names under which they were given."""
        self._known_as: dict[str, str] = {}
        """IDs of nodes by other names of theirs."""

    async def ask(self, present: Sequence[Probe]) -> None:
        """See who is absent while these are not, and ask them why."""
        names = {probe.name for probe in present}
        ids = {probe.figures.id for probe in present}
        before: dict[str, Probe] = self.probes
        self.probes = {}
        for address in self._given:
            name = str(address)
            if name not in names and self._known_as.get(name) not in ids:
                self.probes[name] = before.pop(name) if name in before else Probe(address)
        await asyncio.gather(
            *(self._ask(probe, ids) for probe in self.probes.values()),
            *(probe.client.close() for probe in before.values()),
        )
        for name in [name for name in self.probes if self._known_as.get(name) in ids]:
            await self.probes.pop(name).client.close()

    async def _ask(self, probe: Probe, present: set[str]) -> None:
        try:
            node_id = (await probe.client.hello())[1].decode()
        except RedisError as error:
            probe.note(error)
            return
        probe.figures.id = node_id
        if node_id in present:
            self._known_as[probe.name] = node_id
        else:
            probe.figures.error = "it is of another system, whose queues are not shown"

    async def aclose(self) -> None:
        """Hang up."""
        await asyncio.gather(*(probe.client.close() for probe in self.probes.values()))
