"""What is asked of one shard in one call, in the order in which it may be done.

Jobs to add come first, then those to remove, so that many of them cost little more than one; then
the rest, as it came, and reads with large replies last, as the call ends before one that finds no
room in the reply. That changes the order among clients, never among the commands of one: an
operation that would have to come before an earlier one of its client begins a new batch. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from itertools import islice, repeat
from typing import Any, NamedTuple

from pydisque.errors import DisqueError, MaxLenError, PausedError
from pydisque.node.engine.job import Job
from pydisque.node.store.deferred import Later
from pydisque.node.store.valkey import keys

REFUSALS = {b"PAUSED": PausedError, b"MAXLEN": MaxLenError}

ADD, REMOVE, OTHER, READ = range(4)
"""The stages of a batch."""

CALL = 4 << 20
"""Bytes of replies after which a call ends before its next read."""

_KIB_EACH = 12
"""Bodies count as one operation more for each 2**12 bytes."""


class Operation(NamedTuple):
    """One that is not added up with others."""

    words: list[Any]
    """The verb, a 0 and its arguments, see `rules.lua`."""
    read: Callable[[Any], Any]
    """Makes of what the function says what the answer is, or raises `DisqueError`."""
    answer: Later[Any]
    again: bool
    """Whether it may be asked a second time when nobody knows if it was done."""
    grows: bool = False
    """Whether it is refused when memory is short."""
    patient: bool = False
    """Whether it is for somebody who would wait anyhow."""
    writes: bool = True
    """Whether it changed something, if its answer is not nothing."""
    bound: bool = False
    """Whether it means nothing any more once the shard has another place."""
    asker: object = None
    """The client that it is for."""
    jobs: int = 0
    """For reads: maximum number of jobs or names in the reply."""
    limit: int = 0
    """For reads: bytes of jobs after which the reply ends."""

    @property
    def stage(self) -> int:
        """Where in a batch it is done."""
        return READ if self.jobs else OTHER


class Batch:
    """Operations on one shard."""

    def __init__(self, born: float) -> None:
        self.born = born
        """When it began, by some clock."""
        self.size = 0
        """How many operations these are, those on several jobs counted by the job, and large
        bodies as several."""
        self._jobs = self._limit = 0  # of all reads, and the largest
        self._stages: dict[object, int] = {}
        self._adders: list[object] = []
        self._removers: list[object] = []
        self._adds: list[tuple[bytes, list[bytes], list[Later[bytes]]]] = []
        self._removes: list[bytes | int] = []
        self._removed: list[Later[int]] = []
        self._others: list[Operation] = []

    def takes(self, asker: object, stage: int) -> bool:
        """Whether something of this stage may still come in from whoever asks."""
        if self._stages.get(asker, 0) > stage:
            return False
        self._stages[asker] = stage
        self.size += 1
        if stage == ADD:
            self._adders.append(asker)
        elif stage == REMOVE:
            self._removers.append(asker)
        return True

    def has(self, asker: object) -> bool:
        """Whether something of this client is in it."""
        return asker in self._stages

    def weight(self, big: int) -> int:
        """Bytes that its reply may take at most, if no job or name is larger than `big`."""
        return min(self._jobs * big, CALL + self._limit + big)

    def add(self, id_: bytes, head: bytes, body: bytes, answer: Later[bytes]) -> None:
        """Take in a job to be added."""
        adds = self._adds
        if not adds or adds[-1][0] is not head:
            adds.append((head, [], []))
        _, words, answers = adds[-1]
        words += (id_, body)
        answers.append(answer)
        self.size += len(body) >> _KIB_EACH

    def remove(self, ids: list[bytes], answer: Later[int]) -> None:
        """Take in jobs to be removed."""
        self._removes.append(len(ids))
        self._removes += ids
        self._removed.append(answer)
        self.size += len(ids)

    def operate(self, operation: Operation) -> None:
        """Take in anything else."""
        self._others.append(operation)
        if operation.jobs:
            self._jobs += operation.jobs
            self._limit = max(self._limit, operation.limit)

    def merge(self, batch: Batch) -> None:
        """Take in all of a batch of other clients."""
        self._adds += batch._adds
        self._adders += batch._adders
        self._removes += batch._removes
        self._removed += batch._removed
        self._removers += batch._removers
        self._stages |= batch._stages
        for operation in batch._others:
            self.operate(operation)
        self.size += batch.size

    def split(self, askers: Container[object]) -> tuple[Batch, dict[object, Batch]]:
        """What is left without these clients, and a batch of each that has something in it."""
        if not any(asker in askers for asker in self._stages):
            return self, {}
        rest, parts = Batch(self.born), dict[object, Batch]()

        def part(asker: object, stage: int) -> Batch:
            batch = rest
            if asker in askers:
                batch = parts.setdefault(asker, Batch(self.born))
            batch.takes(asker, stage)
            return batch

        for asker, (head, id_, body, answer) in zip(self._adders, self._each_add(), strict=True):
            part(asker, ADD).add(id_, head, body, answer)
        for asker, (ids, removed) in zip(self._removers, self._each_removal(), strict=True):
            part(asker, REMOVE).remove(ids, removed)
        for operation in self._others:
            part(operation.asker, operation.stage).operate(operation)
        return rest, parts

    def portion(self, weight: int, big: int) -> tuple[Batch, Batch]:
        """What goes next, and what is left: of reads only the first, up to such a weight."""
        first, rest = Batch(self.born), Batch(self.born)
        others, self._others = self._others, []
        first.merge(self)
        for operation in others:
            late = operation.jobs and first._jobs and (first._jobs * big >= weight or rest)
            batch = rest if late else first
            batch.takes(operation.asker, operation.stage)
            batch.operate(operation)
        return first, rest

    def left_over(self, told: list[Any]) -> list[Operation]:
        """Take out what the call did not come to: there are no answers to it."""
        done = len(told) - bool(self._adds) - bool(self._removed)
        if done == len(self._others):
            return []
        left, self._others = self._others[done:], self._others[:done]
        return left

    def _each_add(self) -> Iterator[tuple[bytes, bytes, bytes, Later[bytes]]]:
        for head, words, answers in self._adds:
            for id_, body, answer in zip(words[::2], words[1::2], answers, strict=True):
                yield head, id_, body, answer

    def _each_removal(self) -> Iterator[tuple[list[bytes], Later[int]]]:
        words: Iterator[Any] = iter(self._removes)
        for answer in self._removed:
            yield list(islice(words, next(words))), answer

    def words(self) -> list[Any]:
        """The arguments of the function."""
        words: list[Any] = []
        if self._adds:
            words += (b"add", len(self._adds))
            for head, jobs, answers in self._adds:
                words += (head, len(answers), *jobs)
        if self._removed:
            words += (b"remove", len(self._removed), *self._removes)
        if self._jobs:
            self._others.sort(key=lambda operation: operation.stage)
        for operation in self._others:
            words += operation.words
        return words

    @property
    def grows(self) -> bool:
        """Whether it has something in it that is refused when memory is short."""
        return bool(self._adds) or any(operation.grows for operation in self._others)

    def settle_looks(self, told: list[Any]) -> list[Any]:
        """Give out what tells of no change; the rest stays, and what was answered to it."""
        heads = len(told) - len(self._others)
        changes: list[Operation] = []
        left = told[:heads]
        for operation, answer in zip(self._others, told[heads:], strict=True):
            if operation.writes and answer:
                changes.append(operation)
                left.append(answer)
            else:
                _settle(operation, answer)
        self._others = changes
        return left

    def settle(self, told: list[Any]) -> None:
        """Give out what the function answered."""
        answers = iter(told)
        if self._adds:
            self._settle_adds(next(answers))
        if self._removed:
            for later, removed in zip(self._removed, next(answers), strict=True):
                later.done(removed)
        for operation in self._others:
            _settle(operation, next(answers))

    def _settle_adds(self, refused: list[bytes | None] | int) -> None:
        reasons = refused if isinstance(refused, list) else repeat(None)
        for (_, words, added), why in zip(self._adds, reasons, strict=False):
            if why:
                for answer in added:
                    answer.failed(REFUSALS[why]())
            else:
                for id_, answer in zip(words[::2], added, strict=True):
                    answer.done(id_)

    def _fail_adds(self, error: DisqueError) -> None:
        adds, self._adds, self._adders = self._adds, [], []
        for _, _, added in adds:
            for answer in added:
                answer.failed(error)

    def take_back(self, told: list[Any], error: DisqueError) -> tuple[list[Any], list[Operation]]:
        """Give nobody the jobs that were handed out, but why not.

        Returns:
            What is left of the answers, and what has to be asked for: that the jobs are queued
            again, and that those they were for stand in line again.
        """
        heads = len(told) - len(self._others)
        left, others, back = told[:heads], list[Operation](), list[Operation]()
        for operation, answer in zip(self._others, told[heads:], strict=True):
            if operation.words[0] not in (b"get", b"take"):
                left.append(answer)
                others.append(operation)
                continue
            jobs = keys.given(answer)
            if operation.words[0] == b"take":
                stand = [b"stand", 0, len(jobs), operation.words[-1]]
                back.append(command(stand, bound=True))
            back += giving_back(jobs)
            operation.answer.failed(error)
        self._others = others
        return left, back

    def withdraw(self, told: list[Any], error: DisqueError) -> list[Operation]:
        """What changed may not stay so: give out why; what has to be asked for to undo it."""
        _, undo = self.take_back(told, error)
        added = [id_ for _, words, _ in self._adds for id_ in words[::2]]
        added += [other.words[4] for other in self._others if other.words[0] == b"fit"]
        if added:
            undo.append(command([b"remove", 1, len(added), *added]))
        self.fail(error)
        return undo

    def fail(self, error: DisqueError) -> None:
        """Nothing of it is done, and will not be."""
        self._fail_adds(error)
        for removed in self._removed:
            removed.failed(error)
        for operation in self._others:
            operation.answer.failed(error)

    def refuse_growth(self, error: DisqueError) -> None:
        """Keep only what may be done when memory is short."""
        self._fail_adds(error)
        self._others = _kept(self._others, error, lambda operation: not operation.grows)

    def doubt(self, error: DisqueError) -> None:
        """Nobody knows whether it was done: keep only what may be asked again."""
        self._fail_adds(error)
        self._others = _kept(self._others, error, lambda operation: operation.again)

    def unbind(self, error: DisqueError) -> None:
        """The shard has another place."""
        self._others = _kept(self._others, error, lambda operation: not operation.bound)

    def lose_patience(self, error: DisqueError) -> None:
        """Keep only what is for those who would wait anyhow."""
        others, self._others = self._others, []
        self.fail(error)
        self._removes, self._removed, self._removers = [], [], []
        self._others = _kept(others, error, lambda operation: operation.patient)

    def __bool__(self) -> bool:
        return bool(self._adds or self._removed or self._others)


def _settle(operation: Operation, told: Any) -> None:
    try:
        value = operation.read(told)
    except DisqueError as error:
        operation.answer.failed(error)
    else:
        operation.answer.done(value)


def _kept(
    operations: list[Operation], error: DisqueError, wanted: Callable[[Operation], bool]
) -> list[Operation]:
    for operation in operations:
        if not wanted(operation):
            operation.answer.failed(error)
    return [operation for operation in operations if wanted(operation)]


def nobody(_: object) -> None:
    """For an answer that nobody waits for."""


def command(words: list[Any], *, bound: bool = False) -> Operation:
    """An operation whose answer nobody waits for."""
    later: Later[Any] = Later()
    later.then(nobody, nobody)
    return Operation(words, nobody, later, again=not bound, patient=True, writes=False, bound=bound)


def giving_back(jobs: list[Job]) -> list[Operation]:
    """The operations that queue jobs again which were handed out to nobody.

    The deliveries of a job at most once cannot be told from each other. So it is queued again where
    it was handed out and in one attempt, or not at all: anywhere later it may have been delivered.
    """
    once = [job for job in jobs if not job.retry]
    others = [job for job in jobs if job.retry]
    kinds = (others, False), (once, True)
    return [command(keys.giving_back(some), bound=bound) for some, bound in kinds if some]
