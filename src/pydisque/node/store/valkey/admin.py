"""A system seen by somebody who is no node of it, and is gone again soon: for the tools.

Asks one shard at a time, and waits. What goes wrong, wherever, is one kind of error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import hiredis

from pydisque.errors import DisqueError
from pydisque.node.store.deferred import Later, joined
from pydisque.node.store.valkey.batch import OTHER, Operation
from pydisque.node.store.valkey.connection import LineLostError
from pydisque.node.store.valkey.keys import Layout
from pydisque.node.store.valkey.shard import Shard
from pydisque.node.store.valkey.topology import System, WrongPlaceError
from pydisque.node.store.valkey.url import Place

PATIENCE = 10.0
"""Seconds after which a Valkey that does not answer is given up."""


class VisitError(Exception):
    """A system cannot be reached or used; the text says why."""


class Visit:
    """One visit, while it lasts."""

    layout: Layout

    def __init__(self, place: Place) -> None:
        self.shards: list[Shard] = []
        self.now = 0
        """Valkey's time when it was last heard of, in milliseconds."""
        # Who listens is hung up on when a reply is large.
        self.system = System(
            place,
            PATIENCE,
            copies=1,
            synced=False,
            listens=False,
            published=_nothing,
            placed=_nothing,
        )

    def make_shards(self, layout: Layout) -> list[Shard]:
        """Get to know the system."""
        self.layout = layout
        self.shards = [
            Shard(number, tag, heard=self._heard, stale=self.system.stale)
            for number, tag in enumerate(layout.tags)
        ]
        return self.shards

    def _heard(self, _shard: Shard, now: int, _due: int) -> None:
        self.now = now

    async def ask(self, shard: Shard, *commands: list[Any], grows: bool = False) -> list[Any]:
        """What a shard answers to these, all at one moment.

        They have to be such that it does no harm to ask twice.

        Raises:
            VisitError: it does not answer, or refuses.
        """
        answers: list[Later[Any]] = []
        for words in commands:
            answers.append(Later())
            operation = Operation(words, _as_it_is, answers[-1], again=True, grows=grows)
            shard.open(None, OTHER).operate(operation)
        done = asyncio.get_running_loop().create_future()
        joined(answers, list).then(
            lambda told: None if done.done() else done.set_result(told),
            lambda error: None if done.done() else done.set_exception(error),
        )
        with told():
            try:
                async with asyncio.timeout(PATIENCE):
                    return await done  # type: ignore[no-any-return]
            except TimeoutError:
                why = "it does not answer" if shard.line else shard.why
                raise VisitError(f"Valkey cannot be reached: {why}") from None

    async def confirmed(self, shard: Shard) -> None:
        """Wait until every replica that may be promoted has what was changed in a shard.

        Raises:
            VisitError: they have not got it in time.
        """
        if shard.line is None or not shard.line.awaits_copies:
            return
        done = asyncio.get_running_loop().create_future()

        def reply(error: DisqueError | None) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.system.copied(shard, 1, PATIENCE, reply)
        with told():
            await done

    async def pages(
        self, shard: Shard, *scans: Callable[[bytes], list[Any]]
    ) -> AsyncIterator[tuple[int, list[Any]]]:
        """What scans tell, page by page, and which of them: all their first pages at one moment.

        Each makes a command of its cursor, and is told the next one first of all.
        """
        cursors = dict.fromkeys(range(len(scans)), b"0")
        while cursors:
            pages = await self.ask(shard, *(scans[number](at) for number, at in cursors.items()))
            for number, page in zip(list(cursors), pages, strict=True):
                cursors[number] = page[0]
                if page[0] == b"0":
                    del cursors[number]
                yield number, page[1:]

    async def keys(self, kind: str) -> list[tuple[Shard, bytes]]:
        """The names that follow this one in the names of keys, and in which shards."""
        by_tag = {shard.tag: shard for shard in self.shards}
        prefix = re.sub(r"([*?\[\]\\^])", r"\\\1", self.system.place.prefix)
        found: list[tuple[Shard, bytes]] = []
        for line in list(self.system.lines.values()):
            cursor: bytes = b"0"
            while True:
                with told():
                    cursor, keys = await line.exchange(
                        "SCAN", cursor, "MATCH", f"{prefix}{{*}}:{kind}:*", "COUNT", 1000
                    )
                for key in keys:
                    tag, _, name = key.partition(f":{kind}:".encode())
                    if shard := by_tag.get(tag):
                        found.append((shard, name))
                if cursor == b"0":
                    break
        return found


@asynccontextmanager
async def visiting(place: Place, *, new: bool = False) -> AsyncIterator[Visit]:
    """A visit to a system, which is made, with `new`, if it is not there.

    Raises:
        VisitError: no server can be reached, or there is no such system, or it cannot be used.
    """
    with told():
        visit = Visit(place)
        try:
            await visit.system.start(visit.make_shards, new=new)
            for shard in visit.shards:
                await visit.ask(shard, [b"tick", 0])
            yield visit
        finally:
            await visit.system.aclose()


@contextmanager
def told() -> Iterator[None]:
    """Make one error of whatever may go wrong."""
    try:
        yield
    except (LineLostError, WrongPlaceError, hiredis.ReplyError, OSError) as error:
        raise VisitError(str(error)) from None
    except DisqueError as error:
        raise VisitError(error.reply) from None


def _nothing(*_: object) -> None:
    """Nothing is to be done about it."""


def _as_it_is(answer: Any) -> Any:
    return answer
