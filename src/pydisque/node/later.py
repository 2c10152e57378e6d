"""Answers that are not there yet: of a store that has to ask elsewhere.

Such a store gives a `Later` where another gives the answer itself; whoever asked says what to do
with it. Decides nothing, and knows neither stores nor connections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from pydisque.errors import DisqueError
from pydisque.node import resp

logger = logging.getLogger("pydisque.node")

T = TypeVar("T")

INTERNAL_ERROR = resp.error("ERR internal error, see the log of the node")
"""For a client whose command fails in a way nobody thought of."""


class Later(Generic[T]):
    """An answer to come. Exactly one of `done` and `failed` is called, once, after `then`."""

    __slots__ = ("_done", "_failed")

    _done: Callable[[T], object]
    _failed: Callable[[DisqueError], object]

    def then(self, done: Callable[[T], object], failed: Callable[[DisqueError], object]) -> None:
        """Say what to do with the answer, or with what went wrong."""
        self._done = done
        self._failed = failed

    def done(self, value: T) -> None:
        """This is the answer."""
        self._done(value)

    def failed(self, error: DisqueError) -> None:
        """There is no answer but this."""
        self._failed(error)


class Stepwise(Later[T]):
    """One that takes several steps: until it is there, nothing else may be done for who asked."""

    __slots__ = ()


Answer: TypeAlias = T | Later[T]


def joined(parts: list[Later[Any]], join: Callable[[list[Any]], T]) -> Later[T]:
    """One answer of many: what `join` makes of them, or the first failure once all are there."""
    answer: Later[T] = Later()
    values: list[Any] = [None] * len(parts)
    failures: list[DisqueError] = []
    missing = len(parts)

    def over() -> None:
        nonlocal missing
        missing -= 1
        if missing:
            return
        if failures:
            answer.failed(failures[0])
        else:
            answer.done(join(values))

    def done(number: int, value: Any) -> None:
        values[number] = value
        over()

    def failed(error: DisqueError) -> None:
        failures.append(error)
        over()

    for number, part in enumerate(parts):
        part.then(partial(done, number), failed)
    return answer


def combined(answers: list[Answer[Any]], join: Callable[[list[Any]], T]) -> Answer[T]:
    """One answer of many, at once if all of them are there, else as `joined`."""
    values = list(answers)
    missing = {i: answer for i, answer in enumerate(answers) if isinstance(answer, Later)}

    def complete(found: list[Any]) -> T:
        for i, value in zip(missing, found, strict=True):
            values[i] = value
        return join(values)

    return joined(list(missing.values()), complete) if missing else join(values)


class Owner(Protocol):
    """Whoever a reply is for."""

    def arrived(self, size: int) -> None:
        """A reply that was waited for is there, so many bytes."""


class Reply:
    """A reply to come: the bytes that an answer becomes."""

    __slots__ = ("_shape", "adapt", "bytes", "owner", "size")

    def __init__(self, answer: Later[Any], shape: Callable[[Any], bytes]) -> None:
        """Make it of an answer and of what turns that into bytes, or raises `DisqueError`."""
        self.bytes: bytes | None = None
        """None while it is still to come."""
        self.owner: Owner | None = None
        self.size = 0
        """Bytes of the request that it answers, for its owner."""
        self.adapt: Callable[[bytes], bytes] | None = None
        """What is done to the bytes in the end, for a client that wants them otherwise."""
        self._shape = shape
        answer.then(self._take, self._refuse)

    def _take(self, value: Any) -> None:
        try:
            self._put(self._shape(value))
        except DisqueError as error:
            self._refuse(error)
        except Exception:
            logger.exception("an answer cannot be read")
            self._put(INTERNAL_ERROR)

    def _refuse(self, error: DisqueError) -> None:
        self._put(resp.error(error.reply))

    def _put(self, data: bytes) -> None:
        self.bytes = self.adapt(data) if self.adapt else data
        if self.owner:
            self.owner.arrived(len(self.bytes))


def shaped(answer: Answer[T], shape: Callable[[T], bytes]) -> bytes | Reply:
    """The reply that an answer makes, now or later; an error of `shape` is an error reply."""
    if isinstance(answer, Later):
        return Reply(answer, shape)
    return shape(answer)
