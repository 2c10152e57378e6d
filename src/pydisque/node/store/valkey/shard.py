"""One shard: what is asked of it gathers in batches, which go to whichever server has it now.

While some batches are under way what comes gathers in the next: the more there is to do, the more
goes in one call. A call ends early when its reply is large; reads that are left over go into lanes,
one for each client, and are served in turn. What a server refuses to do now is asked again until a
timeout; what may or may not have been done is asked again only if that does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from pydisque.errors import DisqueError, MisconfError, NoReplError, OOMError
from pydisque.node.store.valkey.batch import CALL, OTHER, Batch, Operation, command
from pydisque.node.store.valkey.connection import Line, LineLostError
from pydisque.node.store.valkey.keys import LATEST, LIBRARY
from pydisque.node.store.valkey.lanes import Lanes
from pydisque.node.store.valkey.replication import TOO_LATE, Told

logger = logging.getLogger("pydisque.node")

UNDER_WAY = 2
"""Calls that may be on their way to one shard at a time."""

LARGEST = 1000
"""Operations that one call does at most, but for one that is larger by itself."""

GUESTS = 2 * LARGEST
"""The same for clients that have nothing else waiting: they need not wait behind those that do."""

POLL = 0.02
"""Seconds after which it is looked again whether clients have read what they got."""

SEALED_AFTER = 0.1
"""Seconds after which a batch that cannot go takes in nothing more."""

NEVER = LATEST
"""A time that does not come, as `rules.lua` tells it."""

LATE = 0.25
"""Seconds after which jobs that waited for copies are not handed out: so much of their lease is
gone, which is meant for whoever works on them."""

PAUSE = 0.02
"""Seconds after which a server is asked again that refused."""

_STOPPED = "STOPPED"
"""Error of the functions that did nothing, as an earlier call has ended early."""

_NOT_NOW = (
    "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "BUSY",
    "NOREPLICAS",
)  # fmt: skip
"""Errors of a server that did nothing, and that another one, or the same, may do later."""

UNKNOWN_FUNCTION = "Function not found"
"""What a server says that has not our functions: they were thrown away, or it is a new one."""

_GONE = DisqueError("the client is gone")

_UNKNOWN = "Valkey went away meanwhile: it is not known whether this was done"


class Shard:
    """One shard of a system."""

    def __init__(
        self,
        number: int,
        tag: bytes,
        *,
        heard: Callable[[Shard, int, int], None],
        stale: Callable[[Shard, str], None],
    ) -> None:
        """Prepare it.

        Args:
            number: which of the system's.
            tag: what the names of its keys begin with.
            heard: told with each answer: Valkey's time, and when it is time to come again.
            stale: told when the shard is not where it was thought to be, and what was said.
        """
        self.number = number
        self.tag = tag
        self.line: Line | None = None
        self.due = NEVER
        """When it is time to come again, in milliseconds."""
        self.token = b""
        """What this node is called where the shard is now, and nowhere else, nor there again."""
        self.why = "not connected yet"
        self._ahead = 0.0
        self.confirm: Callable[[Line, Told], None] | None = None
        """Tells when what was changed on a line is in enough places; None if nothing waits."""
        self.short: Callable[[], None] = lambda: None
        """Called when its server refused something as memory is short."""
        self._loop = asyncio.get_running_loop()
        self._heard = heard
        self._stale = stale
        self._keys = [2, tag + b":state", tag + b":whole"]
        self._batches: deque[Batch] = deque()
        self._lanes = Lanes()
        self._served_lanes = False  # by the last call
        self._ready: Batch | None = None  # waits for room for its reply
        self._under_way = 0
        self._returned: list[Batch] = []
        self._left: list[Operation] = []  # what the last call did not come to
        self._resumes = False  # the next call has to say that the node knows of that
        self._big = 0  # bytes of the largest job, as of the last reply
        self._answered_at = 0.0
        self._closed: DisqueError | None = None  # why nothing is asked any more
        self._due = False  # a flush
        self._pause: asyncio.TimerHandle | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._quiet = asyncio.Event()  # nothing is under way
        self._quiet.set()

    @property
    def ahead(self) -> float:
        """Milliseconds by which its primary's clock is ahead of this machine's monotonic one.

        A shard without a place keeps the offset of the last one.
        """
        if self.line is not None:
            self._ahead = self.line.ahead
        return self._ahead

    # Taking in

    def open(self, asker: object, stage: int) -> Batch:
        """A batch that takes in something of this stage from a client; it goes soon."""
        batches = self._batches
        if self._lanes and asker in self._lanes:
            self._flush_soon()
            return self._lanes.open(asker, stage, LARGEST, self._loop.time())
        if len(batches) > 1:
            if batch := self._earliest(asker, stage):
                return batch
        elif batches:
            last = batches[-1]
            if last.size < LARGEST and self._fresh(last) and last.takes(asker, stage):
                return last
        self._flush_soon()
        batch = Batch(self._loop.time())
        batch.takes(asker, stage)
        batches.append(batch)
        return batch

    def _earliest(self, asker: object, stage: int) -> Batch | None:
        """The first batch that may take something in, behind all else of the same client."""
        number = len(self._batches) - 1
        while number and not self._batches[number].has(asker):
            number -= 1
        for batch in islice(self._batches, number, None):
            most = LARGEST if batch.has(asker) else GUESTS
            if batch.size < most and self._fresh(batch) and batch.takes(asker, stage):
                return batch
        return None

    def ask_first(self, operation: Operation) -> None:
        """Ask for something before all that has not gone yet."""
        batch = Batch(self._loop.time())
        batch.operate(operation)
        self._batches.appendleft(batch)
        self._flush_soon()

    def _fresh(self, batch: Batch) -> bool:
        return bool(self.line) or self._loop.time() - batch.born < SEALED_AFTER

    def _flush_soon(self) -> None:
        if not self._due and self._under_way < UNDER_WAY and self.line and not self._pause:
            self._due = True
            self._loop.call_soon(self._flush)

    # Sending

    def serve_on(self, line: Line, token: bytes) -> None:
        """The shard is there from now on."""
        self.line, self.token = line, token
        self._resumes = False
        self._answered_at = self._loop.time()
        self._change_waiting(lambda batch: batch.unbind(DisqueError(_UNKNOWN)))
        if self._pause:
            self._pause.cancel()
            self._pause = None
        self._flush_soon()

    def _change_waiting(self, change: Callable[[Batch], object]) -> None:
        """Change all that has not gone yet, and drop batches in which nothing is left."""
        if self._ready:
            change(self._ready)
            self._ready = self._ready or None
        for batch in self._batches:
            change(batch)
        self._batches = deque(batch for batch in self._batches if batch)
        self._lanes.prune(change)

    def lose(self, why: str) -> None:
        """The shard is nowhere for the time being."""
        self.line, self.why = None, why

    async def answered(self) -> None:
        """Wait for what was asked where it was, so that who is in line there is known."""
        while self._under_way:
            await self._quiet.wait()

    def _flush(self) -> None:
        self._due = False
        most = 1 if self._lanes or self._resumes else UNDER_WAY
        while self.line and self._under_way < most and not (self._pause or self._left):
            batch, self._ready = self._ready or self._next(), None
            if batch is None:
                break
            room = self.line.room
            if not room.has(batch.weight(self._big)):
                self._ready = batch
                room.wait(self._flush_soon)
                break
            self._send(self.line, batch)
            most = 1 if self._lanes or self._resumes else most
        if self._lanes and not (self._under_way or self._poll):
            self._poll = self._loop.call_later(POLL, self._look_again)

    def _look_again(self) -> None:
        """See whether clients have read what they got by now."""
        self._poll = None
        self._flush_soon()

    def _next(self) -> Batch | None:
        """What goes next: something of each lane, and what others ask for, in turn.

        In calls of their own, so that a small request need not wait for a large reply as well.
        """
        batch = None
        if self._lanes and not (self._batches and self._served_lanes):
            batch = self._lanes.next(LARGEST, self._big, _GONE)
        self._served_lanes = batch is not None
        if batch is None and self._batches:
            batch = self._batches.popleft()
        return batch

    def _send(self, line: Line, batch: Batch, *, grows: bool = True) -> None:
        function = b"%b_%b" % (LIBRARY.encode(), b"grow" if grows and batch.grows else b"run")
        self._under_way += 1
        self._quiet.clear()
        weight, resumes = batch.weight(self._big), self._resumes
        line.room.take(weight)
        line.ask(
            [b"FCALL", function, *self._keys, self.token, CALL, int(resumes), *batch.words()],
            lambda reply: self._replied(line, batch, reply, weight, resumes=resumes),
        )

    def _replied(self, line: Line, batch: Batch, reply: Any, weight: int, *, resumes: bool) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._quiet.set()
        if isinstance(reply, list):
            now, due, self._big, *told = reply
            self._answered_at = self._loop.time()
            self._resumes &= not resumes
            if left := batch.left_over(told):
                self._left += left
                self._resumes = True
            if self._batches and not self._left:
                self._flush()  # so that the server is at work while the answers go out
            self._heard(self, now, due)
            self._done(line, batch, told, weight)
        else:
            line.room.give(weight)
            self._failed(line, batch, reply)
        if self._closed:
            self.close(self._closed)
        elif not self._under_way:
            self._regroup()
            self._flush_soon()

    def _regroup(self) -> None:
        """Put back what comes before all that waits, each client's in its order.

        Reads that were left over, and with them all else of their clients, go into lanes.
        """
        if not (self._left or self._returned):
            return
        back = [*self._returned, *([self._ready] if self._ready else [])]
        self._returned, self._ready = [], None
        left = Batch(self._loop.time())
        for operation in self._left:
            left.takes(operation.asker, operation.stage)
            left.operate(operation)
        askers = {*self._lanes.askers, *(operation.asker for operation in self._left)}
        self._left = []
        waiting = deque[Batch]()
        for batch in reversed(back):
            rest, parts = batch.split(askers)
            self._lanes.prepend(parts)
            if rest:
                waiting.appendleft(rest)
        self._lanes.prepend(left.split(askers)[1])
        for batch in self._batches:
            rest, parts = batch.split(askers)
            self._lanes.append(parts)
            if rest:
                waiting.append(rest)
        self._batches = waiting

    def _done(self, line: Line, batch: Batch, told: list[Any], weight: int) -> None:
        """Give out what was answered, once enough servers have it."""
        if self.confirm is None or not line.awaits_copies:
            batch.settle(told)
            line.room.give(weight)
            return
        told = batch.settle_looks(told)
        if not batch:
            line.room.give(weight)
            return

        since, token = self._loop.time(), self.token

        def confirmed(error: DisqueError | None) -> None:
            line.room.give(weight)
            left, undo = told, list[Operation]()
            if error is not None:
                undo = batch.withdraw(left, error)
            elif self._loop.time() - since > LATE:
                left, undo = batch.take_back(left, NoReplError(TOO_LATE))
            if error is None:
                batch.settle(left)
            for operation in undo:
                if self.token == token or not operation.bound:
                    self.open(None, OTHER).operate(operation)

        self.confirm(line, confirmed)

    def tell(self, words: list[Any], *, bound: bool = False) -> None:
        """Ask for something whose answer nobody waits for."""
        self.open(None, OTHER).operate(command(words, bound=bound))

    def _failed(self, line: Line, batch: Batch, error: Exception) -> None:
        text = str(error)
        word = text.partition(" ")[0]
        if isinstance(error, LineLostError) and error.sent:
            batch.doubt(DisqueError(_UNKNOWN))
        if isinstance(error, LineLostError) or word == _STOPPED:
            self._returned += [batch] if batch else []
        elif word in _NOT_NOW or UNKNOWN_FUNCTION in text:
            self._returned.append(batch)
            self._rest()
            if self.line is line:
                self._stale(self, text)
        elif word == "OOM" and batch.grows:
            batch.refuse_growth(OOMError())
            self.short()
            if batch:
                self._send(line, batch, grows=False)
        elif word == "MISCONF":  # it cannot write to its disk, and will do nothing until it can
            batch.lose_patience(MisconfError(f"Valkey refuses: {text}"))
            if batch:
                self._returned.append(batch)
                self._rest()
        else:
            logger.error("Valkey refuses: %s", text)
            batch.fail(MisconfError(f"Valkey refuses: {text}"))

    def _rest(self) -> None:
        """Ask for nothing for a moment."""
        if not self._pause:
            self._pause = self._loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._flush_soon()

    # Giving up

    def lose_patience(self, seconds: float) -> None:
        """Fail what has not gone for so long, unless Valkey answers or its client would wait."""
        before = self._loop.time() - seconds
        if self.line and self._answered_at >= before:
            return  # busy with what came before
        waiting = [*self._batches, *self._lanes, *([self._ready] if self._ready else [])]
        if not any(batch.born < before for batch in waiting):
            return
        error = MisconfError(f"Valkey cannot be reached: {self.why}")
        self._change_waiting(
            lambda batch: batch.lose_patience(error) if batch.born < before else None
        )

    def close(self, error: DisqueError) -> None:
        """Fail whatever is asked, also what comes back from a connection that is closed."""
        self.lose(str(error))
        self._closed = error
        self._regroup()
        self._change_waiting(lambda batch: batch.fail(error))
        self._ready = None
        self._batches.clear()
        self._lanes = Lanes()
