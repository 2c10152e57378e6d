"""Answers that are not there yet, and the replies they become."""

from __future__ import annotations

import pytest

from pydisque.errors import NoJobError
from pydisque.node.store.deferred import Later, combined, joined
from pydisque.node.wire import resp
from pydisque.node.wire.deferred_reply import INTERNAL_ERROR, Reply, shaped


def test_an_answer_that_is_there() -> None:
    """It becomes a reply at once."""
    assert shaped(5, resp.integer) == b":5\r\n"


def reply_to(later: Later[int]) -> Reply:
    reply = shaped(later, resp.integer)
    assert isinstance(reply, Reply)
    assert reply.bytes is None
    return reply


def test_an_answer_that_comes_later() -> None:
    """Its owner hears of it once it is there, as the client wants it."""
    later: Later[int] = Later()
    reply = reply_to(later)
    heard: list[bytes | None] = []

    class Owner:
        def arrived(self, size: int) -> None:
            assert size == len(reply.bytes)
            heard.append(reply.bytes)

    reply.owner = Owner()
    reply.adapt = lambda data: data + b"!"
    later.done(5)
    assert heard == [b":5\r\n!"]


def test_errors_are_replies(caplog: pytest.LogCaptureFixture) -> None:
    """An answer may be an error; one that cannot be read is one, and is logged."""
    later: Later[int] = Later()
    reply = reply_to(later)
    later.failed(NoJobError())
    assert reply.bytes == resp.error(NoJobError().reply)
    later = Later()
    reply = reply_to(later)
    later.done("no number")  # type: ignore[arg-type]
    assert reply.bytes == INTERNAL_ERROR
    assert "cannot be read" in caplog.text


def test_one_answer_of_many() -> None:
    """It comes when all have come, in whatever order; a failure is told once they are all over."""
    parts: list[Later[int]] = [Later(), Later(), Later()]
    got: list[object] = []
    joined(parts, sum).then(got.append, got.append)
    parts[2].done(3)
    parts[0].done(1)
    assert got == []
    parts[1].done(2)
    assert got == [6]
    parts = [Later(), Later()]
    joined(parts, sum).then(got.append, got.append)
    error = NoJobError()
    parts[0].failed(error)
    assert got == [6]
    parts[1].done(2)
    assert got == [6, error]


def test_combined_answers_at_once_or_later() -> None:
    """Answers that are there are joined at once; with one to come the result is to come."""
    assert combined([], list) == []
    assert combined([1, 2], list) == [1, 2]
    first: Later[int] = Later()
    last: Later[int] = Later()
    both = combined([first, 2, last], list)
    assert isinstance(both, Later)
    found: list[list[int]] = []
    both.then(found.append, lambda error: pytest.fail(str(error)))
    last.done(3)
    assert found == []
    first.done(1)
    assert found == [[1, 2, 3]]
