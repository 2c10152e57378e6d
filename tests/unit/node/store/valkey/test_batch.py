"""What is asked of one shard in one call."""

from __future__ import annotations

from typing import Any

import pytest

from pydisque.errors import DisqueError, MaxLenError, OOMError, PausedError
from pydisque.node.store.deferred import Later
from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.batch import ADD, OTHER, REMOVE, Batch, Operation

A, B = object(), object()
HEAD, OTHER_HEAD = b"head", b"other"


class Heard:
    """An answer, and what came of it."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.later: Later[Any] = Later()
        self.later.then(self.got.append, self.got.append)


def operation(heard: Heard, *words: Any, **options: Any) -> Operation:
    options.setdefault("again", True)
    return Operation([*words], lambda told: told, heard.later, **options)


def filled() -> tuple[Batch, Heard, Heard, Heard, Heard]:
    """Two jobs to add of one head, one of another, one operation."""
    heard = Heard(), Heard(), Heard(), Heard()
    batch = Batch(0.0)
    batch.add(b"1", HEAD, b"x", heard[0].later)
    batch.add(b"2", HEAD, b"y", heard[1].later)
    batch.add(b"3", OTHER_HEAD, b"z", heard[2].later)
    batch.operate(operation(heard[3], b"show", 0, b"id"))
    return (batch, *heard)


def test_the_order() -> None:
    """Jobs of one head are added together, then comes what is removed, then the rest."""
    batch, *_ = filled()
    batch.remove([b"7", b"8"], Heard().later)
    assert batch.words() == [
        *(b"add", 2, HEAD, 2, b"1", b"x", b"2", b"y", OTHER_HEAD, 1, b"3", b"z"),
        *(b"remove", 1, 2, b"7", b"8"),
        *(b"show", 0, b"id"),
    ]


def test_nobody_overtakes_himself() -> None:
    """Who asks for what would come before what he asked for already needs a new batch."""
    batch = Batch(0.0)
    assert batch.takes(A, OTHER)
    assert batch.takes(B, ADD)
    assert batch.takes(B, REMOVE)
    assert batch.takes(A, OTHER)
    assert not batch.takes(A, REMOVE)
    assert not batch.takes(B, ADD)


def test_answers() -> None:
    """Each hears what is his."""
    batch, first, second, third, shown = filled()
    batch.settle([1, b"state"])
    assert [h.got for h in (first, second, third, shown)] == [[b"1"], [b"2"], [b"3"], [b"state"]]


def test_refused_jobs() -> None:
    """A queue that takes none in refuses all of its jobs, and no others."""
    batch, first, second, third, _ = filled()
    batch.settle([[b"PAUSED", None], b""])
    assert [type(h.got[0]) for h in (first, second)] == [PausedError, PausedError]
    assert third.got == [b"3"]


def test_reading_an_answer_may_fail() -> None:
    """What `read` raises is the answer."""

    def read(_: Any) -> Any:
        raise MaxLenError

    heard = Heard()
    batch = Batch(0.0)
    batch.operate(Operation([b"fit"], read, heard.later, again=False))
    batch.settle([b"MAXLEN"])
    assert isinstance(heard.got[0], MaxLenError)


@pytest.mark.parametrize("how", ["doubt", "refuse_growth"])
def test_jobs_are_not_added_twice(how: str) -> None:
    """In doubt, or when memory is short, jobs to be added are given up and the rest is not."""
    batch, first, *_, shown = filled()
    error = OOMError()
    getattr(batch, how)(error)
    assert first.got == [error]
    assert shown.got == []
    assert batch.words() == [b"show", 0, b"id"]


def test_patience() -> None:
    """When nobody answers only those go on waiting who would wait anyhow."""
    patient, other = Heard(), Heard()
    batch = Batch(0.0)
    batch.operate(operation(patient, b"get", patient=True))
    batch.operate(operation(other, b"show"))
    error = DisqueError("gone")
    batch.lose_patience(error)
    assert (patient.got, other.got) == ([], [error])
    assert batch


def test_what_is_bound_to_a_place() -> None:
    """It is given up with the place."""
    bound = Heard()
    batch = Batch(0.0)
    batch.operate(operation(bound, b"stand", bound=True))
    batch.unbind(DisqueError("moved"))
    assert len(bound.got) == 1
    assert not batch


def test_what_tells_of_no_change_waits_for_nothing() -> None:
    """Looks, and what found nothing to do, are answered; what changed something stays."""
    got, nothing, looked, added = Heard(), Heard(), Heard(), Heard()
    batch = Batch(0.0)
    batch.add(b"1", HEAD, b"x", added.later)
    batch.operate(operation(got, b"get"))
    batch.operate(operation(nothing, b"nack"))
    batch.operate(operation(looked, b"show", writes=False))
    left = batch.settle_looks([1, [b"job"], 0, b"state"])
    assert left == [1, [b"job"]]
    assert (nothing.got, looked.got) == ([0], [b"state"])
    batch.settle(left)
    assert (added.got, got.got) == ([b"1"], [[b"job"]])
    looks = Batch(0.0)
    looks.operate(operation(Heard(), b"show", writes=False))
    looks.settle_looks([b"state"])
    assert not looks


def value(retry: int) -> bytes:
    return bytes(8) + keys.head(b"q", 99, retry, 0) + b"body"


def test_what_is_not_kept_by_enough_servers() -> None:
    """What tells of a change fails; what was added is removed, what was given put back."""
    added, fitted, given = Heard(), Heard(), Heard()
    batch = Batch(0.0)
    batch.add(b"1", HEAD, b"x", added.later)
    batch.operate(operation(fitted, b"fit", 0, 5, HEAD, b"2", b"y"))
    batch.operate(operation(given, b"get", 0))
    error = DisqueError("too few")
    undo = batch.withdraw([1, 1, [[b"7", value(5)], [], 1000]], error)
    assert [(added.got, fitted.got, given.got)] == [([error], [error], [error])]
    assert [each.words for each in undo] == [
        [b"give_back", 0, 1, b"7", 6000],
        [b"remove", 1, 2, b"1", b"2"],
    ]


def test_jobs_that_come_too_late() -> None:
    """They are put back, and those they were for stand in line again; the rest is as it was."""
    added, taken = Heard(), Heard()
    batch = Batch(0.0)
    batch.add(b"1", HEAD, b"x", added.later)
    batch.operate(operation(taken, b"take", 0, 3, 99, b"q"))
    error = DisqueError("late")
    left, back = batch.take_back([1, [[b"7", value(5), b"8", value(0)], [], 1000]], error)
    batch.settle(left)
    assert (added.got, taken.got) == ([b"1"], [error])
    assert [(each.words, each.bound) for each in back] == [
        ([b"stand", 0, 2, b"q"], True),
        ([b"give_back", 0, 1, b"7", 6000], False),
        ([b"give_back", 0, 1, b"8", 0], True),  # at most once, and so asked for once
    ]
    assert [each.again for each in back] == [False, True, False]
