"""What a worker does with the jobs of a queue: a function, its limits, and what it may raise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydisque.worker.handlers.return_values import is_coroutine_function, is_generator_function


class Retry(Exception):  # noqa: N818 - raised to ask for something, not to report an error
    """Raised by a handler: try this job again, after so many seconds or the usual backoff.

    It counts as a failed attempt.
    """

    def __init__(self, in_seconds: float | None = None) -> None:
        """Ask for another attempt.

        Args:
            in_seconds: Seconds until then, rounded up to whole ones; None: what the handler's
                backoff says.
        """
        if in_seconds is not None and not in_seconds >= 0:
            raise ValueError(f"in_seconds must be 0 or more, not {in_seconds!r}")
        super().__init__(in_seconds)
        self.in_seconds = in_seconds

    def __str__(self) -> str:
        when = "later" if self.in_seconds is None else f"in {self.in_seconds:g} s"
        return f"to be tried again {when}"


class Drop(Exception):  # noqa: N818
    """Raised by a handler: be done with this job; it is acknowledged and forgotten."""


class Dead(Exception):  # noqa: N818
    """Raised by a handler: no further attempt will help; the job becomes a dead letter."""

    def __init__(self, why: str = "declared dead by its handler") -> None:
        """Say why, for whoever looks at the dead letter."""
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after each failure: ``first`` seconds, then ``factor`` times as long.

    Of every pause up to half is left out at random, so that jobs which failed together do not come
    back together.
    """

    first: float = 1.0
    longest: float = 600.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not (0 <= self.first <= self.longest and self.factor >= 1):
            raise ValueError(
                "backoff needs 0 <= first <= longest in seconds and a factor of at least 1, "
                f"not {self!r}"
            )

    def pause(self, failures: int, jitter: float) -> float:
        """Seconds to wait after so many failures; jitter is a random number from 0 to 1."""
        growth = self.factor ** min(failures - 1, 64)
        whole: float = min(self.longest, self.first * growth)
        return whole * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and how its jobs are treated; see `Worker.handler` for what each part means."""

    function: Callable[[Any], Any]
    queue: str
    max_attempts: int | None
    max_additional_deliveries: int | None
    backoff: Backoff
    timeout: float | None
    dead_queue: str | None
    dead_ttl: int
    decode: Callable[[bytes], Any] = json.loads
    is_async: bool = field(init=False, default=False)
    """Whether the function is a coroutine function."""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"a handler must be a function, not {self.function!r}")
        if is_generator_function(self.function):
            raise TypeError(
                f"the handler of {self.queue!r} must be a function or a coroutine function, not "
                f"the generator function {self.function!r}, which nothing would run"
            )
        object.__setattr__(self, "is_async", is_coroutine_function(self.function))
        for name, least in (("max_attempts", 1), ("max_additional_deliveries", 0)):
            limit = getattr(self, name)
            if limit is not None and not (type(limit) is int and limit >= least):
                raise ValueError(f"{name} must be an int from {least}, or None, not {limit!r}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, or None, not {self.timeout!r}")
        if type(self.dead_ttl) is not int or self.dead_ttl < 1:
            raise ValueError(f"dead_ttl must be an int of seconds from 1, not {self.dead_ttl!r}")
        if self.dead_queue == self.queue:
            raise ValueError(f"dead_queue must be another queue than {self.queue!r}")
