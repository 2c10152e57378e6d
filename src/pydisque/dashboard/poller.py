"""Looks at the system in the background, at the pace of those who look at us.

All browsers share one survey: what it costs the nodes does not depend on how many there are. While
nobody looks it goes on slowly, so that whoever comes finds a history and waits for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from time import monotonic

from redis.exceptions import RedisError

from pydisque.monitoring.monitor import Survey

logger = logging.getLogger("pydisque.dashboard")

PACE = 2.0
"""Seconds from look to look while somebody looks."""

IDLE = 15.0
"""Likewise while nobody does."""

PATIENCE = 10.0
"""Seconds after a request in which somebody looks, and in which its queues are watched."""

MOST_WATCHED = 500
"""Queues that every look asks for, as they are on somebody's page."""


class Watch:
    """The survey, and who wants to know what of it."""

    def __init__(self, nodes: Sequence[str]) -> None:
        """Prepare it; nothing is asked yet."""
        self.survey = Survey(nodes)
        self.error = ""
        """Why the last look came to nothing, if it did."""
        self._wanted: dict[bytes, float] = {}
        self._attended = float("-inf")
        self._woken = asyncio.Event()
        self._looked = asyncio.Event()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                began = monotonic()
                await self._look(began)
                await self._rest(began)
        finally:
            await self.survey.aclose()

    async def attend(self, queues: Iterable[bytes] = ()) -> None:
        """Somebody looks, at these queues among others; waits only for the very first look."""
        now = monotonic()
        if now - self._attended > PATIENCE:
            self._woken.set()
        self._attended = now
        for name in queues:
            self._wanted.pop(name, None)
            self._wanted[name] = now
        while len(self._wanted) > MOST_WATCHED:
            del self._wanted[next(iter(self._wanted))]
        await self.first_look()

    async def first_look(self) -> None:
        """Wait until there is something to tell."""
        await self._looked.wait()

    async def _look(self, now: float) -> None:
        self._wanted = {
            name: since for name, since in self._wanted.items() if now - since < PATIENCE
        }
        self.survey.watched = set(self._wanted)
        try:
            await self.survey.look()
            self.error = ""
        except RedisError as error:
            self.error = str(error)
        except Exception:
            self.error = "looking at the nodes failed; the log says why"
            logger.exception("a look at the nodes failed")
        self._looked.set()

    async def _rest(self, began: float) -> None:
        self._woken.clear()
        attended = monotonic() - self._attended < PATIENCE
        pause = (PACE if attended else IDLE) - (monotonic() - began)
        try:
            await asyncio.wait_for(self._woken.wait(), max(pause, PACE / 4))
        except TimeoutError:
            return
