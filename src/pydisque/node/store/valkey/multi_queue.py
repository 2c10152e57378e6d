"""Jobs of queues that are in several shards, for one client.

No call concerns two shards. So each queue is asked first how many jobs it offers, then each for its
share, one of each in turn as ever; others may have been quicker, and then that is done again. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from pydisque.errors import DisqueError
from pydisque.node.engine.job import Job
from pydisque.node.store.deferred import Later, Stepwise, joined


class Gathering:
    """One such GETJOB."""

    def __init__(
        self,
        get: Callable[[bytes, int, int], Later[list[Job]]],
        offered: Callable[[bytes], Later[int]],
        stand: Callable[[Iterable[bytes], int], None],
    ) -> None:
        """Prepare it.

        Args:
            get: takes so many jobs, of such size, from a queue.
            offered: tells how many jobs a queue would give.
            stand: puts a client in line for queues.
        """
        self._get = get
        self._offered = offered
        self._stand = stand
        self._answer: Stepwise[list[Job]] = Stepwise()

    def get(self, names: list[bytes], count: int, size: int, *, wait: bool) -> Later[list[Job]]:
        """As `Store.get`."""
        self._names, self._count, self._size, self._wait = names, count, size, wait
        self._look()
        return self._answer

    def _look(self) -> None:
        names = list(dict.fromkeys(self._names))
        joined([self._offered(name) for name in names], list).then(
            lambda offered: self._share(dict(zip(names, offered, strict=True))),
            self._answer.failed,
        )

    def _share(self, offered: dict[bytes, int]) -> None:
        order = turns(self._names, offered, self._count)
        if not order:
            self._answer.done([])
            if self._wait:  # from now on the client is in line
                self._stand(offered, 1)
            return
        shares = Counter(order)
        size = self._size
        asked = [
            # Each gets its share of the size too, or large jobs of many queues come at once.
            _or_nothing(self._get(name, share, max(1, size * share // len(order))))
            for name, share in shares.items()
        ]
        joined(asked, list).then(
            lambda parts: self._took(order, dict(zip(shares, parts, strict=True))),
            self._answer.failed,
        )

    def _took(self, order: list[bytes], parts: dict[bytes, list[Job] | DisqueError]) -> None:
        rest = {name: iter(part) for name, part in parts.items() if isinstance(part, list)}
        jobs = [job for name in order if (job := next(rest.get(name, iter(())), None))]
        failures = [part for part in parts.values() if not isinstance(part, list)]
        if jobs:
            self._answer.done(jobs)
        elif failures:
            self._answer.failed(failures[0])
        else:
            self._look()  # others took them all


def _or_nothing(jobs: Later[list[Job]]) -> Later[list[Job] | DisqueError]:
    """Jobs, or why there are none: what others gave must not be lost for that."""
    answer: Later[list[Job] | DisqueError] = Later()
    jobs.then(answer.done, answer.done)
    return answer


def turns(names: list[bytes], offered: dict[bytes, int], count: int) -> list[bytes]:
    """Which queues give a job, in this order: one of each in turn, as long as there are some."""
    left = dict(offered)
    order: list[bytes] = []
    some = True
    while some:
        some = False
        for name in names:
            if len(order) == count:
                return order
            if left[name]:
                left[name] -= 1
                order.append(name)
                some = True
    return order
