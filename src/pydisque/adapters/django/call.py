"""A call of a task as the body of a job, and what ``OPTIONS`` may say. Nothing here is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from math import ceil
from typing import Any

from pydisque.adapters.priorities import Steps

YEAR = 365 * 86400


@dataclass(frozen=True, slots=True)
class Options:
    """The backend's ``OPTIONS``."""

    nodes: Any = None
    """As for `Client`. Default: ``DISQUE_NODES``, else localhost."""
    retry: int = 60
    """Seconds after which a task comes again whose worker is gone. 0: it does not."""
    ttl: int = YEAR
    """Seconds after which a task is dropped, from when it may run."""
    replicate: int | None = None
    """Copies in a cluster of Disque's own nodes."""
    priority_steps: tuple[int, ...] = (1, -100)
    """The lowest priority of each step beside 0: above, 0 and below have a queue each."""
    client: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `Client`, and of the `Worker`."""
    handler: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `Worker.handler`, such as ``max_attempts``."""
    worker: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `Worker`, such as ``concurrency``."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Those that are given; the others are as above.

        Raises:
            ValueError: There is no such option.
        """
        known = {each.name for each in fields(cls)}
        if unknown := set(given) - known:
            names, all_of_them = ", ".join(sorted(unknown)), ", ".join(sorted(known))
            raise ValueError(f"no such option: {names}; there are {all_of_them}")
        return cls(**given)

    @property
    def steps(self) -> Steps:
        """The steps of priorities."""
        return Steps(self.priority_steps)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a task."""

    task: str
    """Where the task is: module and name."""
    queue: str
    priority: int
    enqueued_at: str
    """Date and time, ISO 8601."""
    args: list[Any]
    kwargs: dict[str, Any]

    def to_body(self) -> bytes:
        """The body of a job."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def of_body(cls, body: bytes) -> Call:
        """Read the body of a job.

        Raises:
            ValueError: It is no call.
        """
        given = json.loads(body)
        if not isinstance(given, dict) or set(given) != {each.name for each in fields(cls)}:
            raise ValueError("this is no call of a task")
        return cls(**given)


def job_options(options: Options, run_after: datetime | None, now: datetime) -> dict[str, Any]:
    """What ADDJOB is to be given for a call that may begin then."""
    delay = 0 if run_after is None else max(0, ceil((run_after - now).total_seconds()))
    given = {
        "retry": options.retry,
        "ttl": options.ttl + delay,
        "replicate": options.replicate if options.retry else 1,
    }
    return given | {"delay": delay} if delay else given
