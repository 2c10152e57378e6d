"""What a worker promises, held against the story of a run: pure.

Every delivery beyond the first needs a reason of its own in a run before it. A job that failed or
was given back comes with one nack more; one whose worker said nothing of it comes with as many as
before, so that each kind of delivery needs its own kind of reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from harness.chaos.worker_history import DEADLY_LIMIT, RETRY, Life, Run, Story

ACK = 1.0
"""Seconds within which an ack is confirmed after its job's end, in peace."""
LEFT = RETRY / 2 - 0.5
"""Seconds that are left of every lease at any time at least: it is renewed before half of it is
over; a busy machine and the node's jitter may take half a second."""
LATE = 0.3
"""Seconds by which a line may be written late."""
WAITS = 1.0
"""Seconds after its delivery in which a job may begin without a look whether it is still ours."""
LAST_ANSWERS = 8.0
"""Seconds that a worker may take to end after its grace, or after its executor was broken."""


class Reason(NamedTuple):
    """Why a job may be delivered again, from when on."""

    what: str
    since: float
    nacked: bool
    """Whether the node is told, and counts it as a nack."""


class Violation(NamedTuple):
    """A promise that was not kept."""

    what: str
    runs: list[Run]


class Promises:
    """Those about one run, once all of it is over and every queue was drained."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._tasks = {add.task.name: add.task for add in story.adds}
        self._added = {add.id: add.sent for add in story.adds}
        self._griefs = list(_griefs(story))
        self.explained: Counter[str] = Counter()
        """What explains the deliveries beyond the first; filled by `broken`."""

    def broken(self) -> Iterator[Violation]:
        """What was not kept."""
        yield from self._lost()
        for runs in self._story.runs.values():
            yield from self._unexplained(sorted(runs, key=_delivered))
        yield from self._undeserved_letters()
        for life in self._story.lives.values():
            yield from self._bad_end(life)
        for text in self._story.left:
            yield Violation(f"left at a node though all is done: {text}", [])
        for text in self._story.orphans:
            yield Violation(f"a process outlived its worker: {text}", [])

    def _lost(self) -> Iterator[Violation]:
        """Whatever was added is done, or a dead letter."""
        buried = {letter.id for letter in self._story.letters}
        for add in self._story.adds:
            if add.id and add.id not in buried:
                runs = self._story.runs.get(add.id, [])
                if not any(run.outcome == "done" for run in runs):
                    yield Violation(f"{add.id} ({add.task.name}) was never run to its end", runs)

    # More than once

    def _unexplained(self, runs: list[Run]) -> Iterator[Violation]:
        pool: list[Reason] = []
        nacks = 0
        for number, run in enumerate(runs):
            failures = run.nacks - nacks
            for _ in range(failures if failures > 0 else int(number > 0)):
                reason = _take(pool, run.begun, nacked=failures > 0)
                if reason is None and failures > 0:
                    reason = self._given_back(run)
                if reason is None:
                    how = "as failed" if failures > 0 else "without a nack"
                    yield Violation(f"{run.id} was delivered again {how}, and nothing tells why",
                                    runs)  # fmt: skip
                    return
                self.explained[reason.what] += 1
            nacks = max(nacks, run.nacks)
            silent = sum(
                not reason.nacked for each in runs[:number] for reason in self.reasons(each)
            )
            if self._unseen(run.id, run.additional, silent) < run.additional - silent:
                what = f"{run.id} had {run.additional} additional deliveries, and nothing tells why"
                yield Violation(what, runs)
                return
            pool += self.reasons(run)

    def _given_back(self, run: Run) -> Reason | None:
        """A worker whose executor broke gives back, as failed, also what its handler had not begun.

        With processes that is what waits for its process to start.
        """
        added = self._added.get(run.id, 0.0)
        broken = (life.broken for life in self._story.lives.values())
        since = [when for when in broken if added - LAST_ANSWERS < when < run.begun]
        return Reason("its executor was broken", since[0], nacked=True) if since else None

    def reasons(self, run: Run) -> Iterator[Reason]:
        """Why the job of this run may be delivered again."""
        life = self._story.lives[run.worker]
        task = self._tasks.get(run.name)
        if run.outcome == "failed":
            yield Reason("it failed", run.ended, nacked=True)
        if self._story.executor == "processes" and not run.outcome and task and task.deed:
            yield Reason("its process died", run.begun, nacked=True)
        if life.broken < run.ended:  # it was given back as failed
            yield Reason("its executor was broken", life.broken, nacked=True)
        if life.how not in ("", "term") and run.ended > life.ended - ACK:
            yield Reason(f"its worker died: {life.how}", life.ended - LATE, nacked=False)
        patience = life.told_to_end + self._story.grace - LATE
        if life.how == "term" and run.begun < life.ended and run.ended > patience:
            yield Reason("it was cut short", patience, nacked=True)
        yield from self._interruptions(run, life)

    def _interruptions(self, run: Run, life: Life) -> Iterator[Reason]:
        stops = [("its worker was stopped", *stop) for stop in life.stops]
        stops += [
            (f"trouble: {trouble.kind}", trouble.began, trouble.over)
            for trouble in self._story.troubles
            if run.worker in trouble.affected
        ]
        for what, began, over in stops:
            met = run.begun < over + WAITS + LATE and run.ended > began - ACK
            if met and over - began >= LEFT:
                yield Reason(what, began + LEFT, nacked=False)

    # The rest

    def _undeserved_letters(self) -> Iterator[Violation]:
        """Only what failed, or ended its workers, as often as is allowed is dead."""
        for letter in self._story.letters:
            runs = self._story.runs.get(letter.id, [])
            reasons = [reason for run in runs for reason in self.reasons(run)]
            allowed = DEADLY_LIMIT if letter.queue == "deadly" else self._story.deliveries
            attempts = allowed + 1 if letter.queue == "deadly" else 10
            silent = sum(not reason.nacked for reason in reasons)
            silent += self._unseen(letter.id, letter.additional_deliveries, silent)
            if silent <= allowed and sum(reason.nacked for reason in reasons) < attempts:
                yield Violation(f"{letter.id} became a dead letter undeservedly: {letter}", runs)

    def _unseen(self, id_: str, deliveries: int, seen: int) -> int:
        """How many of these deliveries may have begun nothing, in workers that came to grief.

        Those of so many reasons that were seen had their own.
        """
        added = self._added.get(id_, 0.0)
        return max(0, min(deliveries, sum(when > added for when in self._griefs)) - seen)

    def _bad_end(self, life: Life) -> Iterator[Violation]:
        """A worker ends when it is made to, and in time."""
        who = f"worker {life.pid}"
        if life.how == "crash":
            yield Violation(f"{who} ended by itself, with {life.code}", [])
        if life.how == "term" and life.code not in (0, 3):
            yield Violation(f"{who} was told to end, and did with {life.code}", [])
        if life.broken + LAST_ANSWERS < min(life.ended, life.told_to_end):
            yield Violation(f"{who} went on though its executor was broken", [])
        took = life.ended - life.told_to_end
        stopped = sum(over - began for began, over in life.stops if over > life.told_to_end)
        if took > self._story.grace + LAST_ANSWERS + stopped:
            yield Violation(f"{who} took {took:.1f} s to end", [])


def _griefs(story: Story) -> Iterator[float]:
    """Ends of what may leave a delivery unanswered, as often as it may do so to one job."""
    for trouble in story.troubles:  # a dead wire swallows what is sent to it, lease after lease
        yield from [trouble.over] * (1 + int((trouble.over - trouble.began) / LEFT))
    for life in story.lives.values():
        yield from (over for _, over in life.stops)
        if life.how not in ("", "term"):
            yield life.ended


def _delivered(run: Run) -> tuple[int, float]:
    """The order of deliveries: what a worker had before it was stopped may begin last."""
    return run.attempt, run.begun


def _take(pool: list[Reason], when: float, *, nacked: bool) -> Reason | None:
    """The earliest reason of this kind that there was at this time, taken out of the pool."""
    fit = [reason for reason in pool if reason.nacked == nacked and reason.since <= when]
    if not fit:
        return None
    reason = min(fit, key=lambda fitting: fitting.since)
    pool.remove(reason)
    return reason
