"""A result that arrives later.

Unlike asyncio.Future it runs its callbacks at once, in the same turn of the loop. `done` or
`failed` is called once, after `then`. Knows neither stores nor connections. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from pydisque.errors import DisqueError

T = TypeVar("T")


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
