"""What is asked of one shard in one call, in the order in which it may be done.

Jobs to add come first, then those to remove, so that many of them cost little more than one; then
the rest, as it came. That changes the order among clients, never among the commands of one: who
asks for something that would have to come before what he asked for already, begins a new batch.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any, NamedTuple

from pydisque.errors import DisqueError, MaxLenError, PausedError
from pydisque.node.later import Later
from pydisque.node.valkey import layout

REFUSALS = {b"PAUSED": PausedError, b"MAXLEN": MaxLenError}

ADD, REMOVE, OTHER = range(3)
"""The stages of a batch."""


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


class Batch:
    """Operations on one shard."""

    def __init__(self, born: float) -> None:
        self.born = born
        """When it began, by some clock."""
        self.size = 0
        """How many operations these are, those on several jobs counted by the job."""
        self._stages: dict[object, int] = {}
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
        return True

    def add(self, id_: bytes, head: bytes, body: bytes, answer: Later[bytes]) -> None:
        """Take in a job to be added."""
        adds = self._adds
        if not adds or adds[-1][0] is not head:
            adds.append((head, [], []))
        _, words, answers = adds[-1]
        words += (id_, body)
        answers.append(answer)

    def remove(self, ids: list[bytes], answer: Later[int]) -> None:
        """Take in jobs to be removed."""
        self._removes.append(len(ids))
        self._removes += ids
        self._removed.append(answer)
        self.size += len(ids)

    def operate(self, operation: Operation) -> None:
        """Take in anything else."""
        self._others.append(operation)

    def words(self) -> list[Any]:
        """The arguments of the function."""
        words: list[Any] = []
        if self._adds:
            words += (b"add", len(self._adds))
            for head, jobs, answers in self._adds:
                words += (head, len(answers), *jobs)
        if self._removed:
            words += (b"remove", len(self._removed), *self._removes)
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
        adds, self._adds = self._adds, []
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
            jobs = layout.given(answer)
            if operation.words[0] == b"take":
                stand = [b"stand", 0, len(jobs), operation.words[-1]]
                back.append(command(stand, bound=True))
            back.append(command(layout.giving_back(jobs)))
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
        self._removes, self._removed = [], []
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
