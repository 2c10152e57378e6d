"""What a worker counts: for `/health`, `/metrics` and whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

OUTCOMES = {
    "done": "done",
    "retried": "retried",
    "dead": "dead",
    "dropped": "dropped",
    "returned": "returned",
    "lease_lost": "lost",
    "cut_short": "cut_short",
}
"""What can become of a job, in the words of `/health` and `/metrics`: the counter of each."""


def _counter() -> Counter[bytes]:
    return Counter()


@dataclass(slots=True)
class Tally:
    """Figures since the worker began; jobs are counted by queue."""

    fetched: Counter[bytes] = field(default_factory=_counter)
    """Deliveries taken from a node."""
    done: Counter[bytes] = field(default_factory=_counter)
    """Acknowledged after their handler returned."""
    dropped: Counter[bytes] = field(default_factory=_counter)
    """Acknowledged though they failed: by `Drop`, or as no dead letter was wanted."""
    retried: Counter[bytes] = field(default_factory=_counter)
    """Failed, and given back to be tried again."""
    dead: Counter[bytes] = field(default_factory=_counter)
    """Made dead letters."""
    returned: Counter[bytes] = field(default_factory=_counter)
    """Put back before they were begun."""
    lost: Counter[bytes] = field(default_factory=_counter)
    """Their lease was over before they were."""
    cut_short: Counter[bytes] = field(default_factory=_counter)
    """Still running when the worker had to stop."""
    in_hand: int = 0
    """Fetched and not yet over, now."""
    last_fetch: float | None = None
    """When a node last answered a fetch, with or without a job; steady clock, None: never."""
    wanting_since: float | None = None
    """Since when the worker has had room for more jobs; None while it has its hands full."""

    last_beat: float | None = None
    """When the worker's own loop last ran; steady clock, None: never."""
    failure: str | None = None
    """Why the worker has ended though nobody stopped it; None: it has not."""

    def outcomes(self, queue: bytes) -> dict[str, int]:
        """How many of a queue's jobs ended in each way of `OUTCOMES`; for any thread."""
        return {outcome: getattr(self, counter)[queue] for outcome, counter in OUTCOMES.items()}

    def count(self, outcome: str, queue: bytes) -> None:
        """One more job of a queue has ended so."""
        getattr(self, OUTCOMES[outcome])[queue] += 1


def together(
    tallies: Iterable[tuple[Tally, Iterable[bytes]]],
) -> tuple[Counter[bytes], Counter[tuple[bytes, str]]]:
    """Of several workers, each with its queues: deliveries by queue, jobs by queue and outcome.

    All that can be counted is there from the start, as 0. For any thread.
    """
    fetched, ended = _counter(), Counter[tuple[bytes, str]]()
    for tally, queues in tallies:
        for queue in queues:
            fetched[queue] += tally.fetched[queue]
            for outcome, number in tally.outcomes(queue).items():
                ended[queue, outcome] += number
    return fetched, ended
