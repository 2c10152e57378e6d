"""What becomes of a job: limits, pauses, and what a handler may ask for."""

from __future__ import annotations

import re

import pytest

from pydisque.worker.handlers.handler import Backoff, Dead, Drop, Retry
from pydisque.worker.handlers.hooks import judged
from pydisque.worker.handlers.policy import (
    LONGEST_PAUSE,
    LONGEST_TEXT,
    LONGEST_TRACEBACK,
    Ack,
    Again,
    Bury,
    Leave,
    RemoteError,
    after,
    before,
    text_of,
    trace_of,
    whole_seconds,
)

from .jobs import a_handler, a_job


def raised(error: BaseException) -> BaseException:
    """The error with a traceback."""
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:  # noqa: BLE001
        return caught


def test_what_returns_is_acknowledged():
    """A job whose handler returned is done."""
    assert after(a_handler(), a_job(), None, 0.5) == Ack()


def test_a_failure_is_tried_again_later():
    """The pause after a failure grows with the failures before it, and is in whole seconds."""
    error = ValueError("no")
    pauses = [after(a_handler(max_attempts=9), a_job(nacks=n), error, 1.0) for n in range(4)]
    assert pauses == [Again(1, error), Again(2, error), Again(4, error), Again(8, error)]


def test_the_pause_has_a_limit_and_is_spread():
    """No pause is longer than the longest, and up to half of it is left out at random."""
    backoff = Backoff(first=1, longest=60)
    assert backoff.pause(500, 1.0) == 60
    assert backoff.pause(500, 0.0) == 30


def test_a_handler_without_backoff_is_tried_again_at_once():
    """A first pause of 0 stays 0."""
    error = ValueError("no")
    assert after(a_handler(backoff=Backoff(0)), a_job(), error, 0.7) == Again(0, error)


@pytest.mark.parametrize(("nacks", "kind"), [(0, Again), (1, Again), (2, Bury), (7, Bury)])
def test_attempts_have_a_limit(nacks, kind):
    """With max_attempts=3 the third failure is the last."""
    assert type(after(a_handler(max_attempts=3), a_job(nacks=nacks), ValueError(), 0.5)) is kind


def test_attempts_without_limit():
    """With max_attempts=None a job is tried for ever."""
    job = a_job(nacks=60_000)
    assert isinstance(after(a_handler(max_attempts=None), job, ValueError(), 0.5), Again)


def test_the_two_counters_have_limits_of_their_own():
    """Deliveries nobody answered for do not count as failures, nor the other way round."""
    handler = a_handler(max_attempts=3, max_additional_deliveries=2)
    assert isinstance(after(handler, a_job(additional=2), ValueError(), 0.5), Again)
    assert before(handler, a_job(nacks=9)) is None


@pytest.mark.parametrize(("additional", "doomed"), [(0, False), (2, False), (3, True)])
def test_what_ends_its_workers_ends(additional, doomed):
    """A job delivered more often without an answer than is allowed is not run again."""
    sentence = before(a_handler(max_additional_deliveries=2), a_job(additional=additional))
    assert isinstance(sentence, Bury) is doomed
    assert sentence is None or "3 times without an answer" in sentence.reason
    assert before(a_handler(max_additional_deliveries=None), a_job(additional=additional)) is None


def test_a_handler_may_say_when():
    """Retry(in_seconds) sets the pause, Retry() leaves it to the backoff; both are attempts."""
    later, usual = Retry(in_seconds=12.2), Retry()
    assert after(a_handler(), a_job(), later, 0.0) == Again(13, later)
    assert after(a_handler(), a_job(nacks=1), usual, 1.0) == Again(2, usual)
    assert isinstance(after(a_handler(), a_job(nacks=2), later, 0.0), Bury)


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_a_time_that_is_none_is_refused(wrong):
    """Retry takes seconds from 0 on."""
    with pytest.raises(ValueError, match="in_seconds must be 0 or more"):
        Retry(in_seconds=wrong)


def test_a_handler_may_give_up():
    """Drop forgets a job, Dead makes it a dead letter at once, with the reason given."""
    assert after(a_handler(), a_job(), Drop(), 0.5) == Ack(dropped=True)
    sentence = after(a_handler(), a_job(), raised(Dead("no such customer")), 0.5)
    assert isinstance(sentence, Bury)
    assert sentence.reason == "no such customer"
    assert "Dead: no such customer" in sentence.traceback


def test_a_lost_lease_leaves_a_failure_to_others():
    """What failed after its lease was lost is not given back: another worker may be at it."""
    job = a_job()
    job.lost = True
    assert after(a_handler(), job, ValueError(), 0.5) == Leave()
    assert after(a_handler(), job, Dead(), 0.5) == Leave()
    assert after(a_handler(), job, None, 0.5) == Ack()


def test_at_most_once_has_one_attempt():
    """A job that is never delivered again is dead when it fails."""
    sentence = after(a_handler(), a_job(at_most_once=True), ValueError("no"), 0.5)
    assert isinstance(sentence, Bury)
    assert "at most one delivery" in sentence.reason


def test_errors_are_told_in_a_line_and_in_full():
    """A dead letter has the error's class and text, and its traceback; a long one is cut."""
    error = raised(ValueError("bad\nvalue"))
    assert text_of(raised(KeyError("x"))) == "KeyError: 'x'"
    assert "in raised" in trace_of(error)
    assert trace_of(RemoteError("E: text", "x" * 100_000)) == "x" * 16384
    assert text_of(RemoteError("E: text", "")) == "E: text"


class RaisingError(Exception):
    """An error that cannot be told."""

    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


@pytest.mark.parametrize("kind", [ValueError, Dead, Retry, RaisingError])
def test_what_is_kept_of_an_error_is_bounded(kind):
    """Of a huge text its head and tail are kept, with how much was cut, and the same of a trace."""
    error = raised(kind())
    error.args = (f"begins{'x' * 10_000_000}ends",)
    assert len(text_of(error)) <= LONGEST_TEXT + 100
    assert len(trace_of(error)) <= LONGEST_TRACEBACK
    if kind is ValueError:
        assert text_of(error).startswith("ValueError: beginsxxx")
        assert text_of(error).endswith("xxxends")
        assert re.search(r" \[…99\d{5} characters cut…\] ", text_of(error))
        assert trace_of(error).startswith("Traceback (most recent call last):")
        assert trace_of(error).endswith("xxxends\n")
        assert " characters cut" in trace_of(error)


@pytest.mark.parametrize("text", ["a\nb", "a\r\x1b[2Jb", "a\u2028b", "a\x00b", "a\udc80b"])
def test_the_text_of_an_error_is_one_line(text):
    """What controls a terminal, or begins a line, is shown and does not work."""
    for error in (ValueError(text), Dead(text), KeyError(text)):
        assert text_of(error).isprintable()
        sentence = after(a_handler(max_attempts=1), a_job(), error, 0.5)
        assert sentence.reason.isprintable()
    error = ValueError("first")
    error.add_note(text)
    assert text_of(error) == "ValueError: first"


@pytest.mark.parametrize(
    ("pause", "seconds"),
    [(float("inf"), LONGEST_PAUSE), (1e300, LONGEST_PAUSE), (10**400, LONGEST_PAUSE), (-5, 0),
     (0.1, 1), (True, 1)],
)  # fmt: skip
def test_absurd_pauses_are_bounded(pause, seconds):
    """A pause is from 0 to one that no job outlives, whatever was asked for."""
    assert whole_seconds(pause) == seconds
    later = Retry()
    later.in_seconds = pause
    assert judged(a_handler(), a_job(), later, 0.5) == Again(seconds, later)


class OwnBackoff(Backoff):
    """A backoff of an app."""

    def pause(self, failures, jitter):
        return self.first() if callable(self.first) else self.first


def leave():
    raise SystemExit


@pytest.mark.parametrize("pause", [None, "5", float("nan"), [], leave])
def test_a_backoff_that_fails(pause, caplog):
    """Where an app's backoff raises, or gives no number, the usual one counts, and it is logged."""
    backoff = OwnBackoff()
    object.__setattr__(backoff, "first", pause)
    sentence = judged(a_handler(backoff=backoff), a_job(), ValueError(), 1.0)
    assert isinstance(sentence, Again)
    assert sentence.delay == 1
    assert "its backoff failed, so the usual one counts" in caplog.text
    later = Retry()
    later.in_seconds = pause
    assert isinstance(judged(a_handler(), a_job(), later, 1.0), Again)


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0}, {"max_attempts": 1.5}, {"max_additional_deliveries": -1},
        {"timeout": 0}, {"dead_ttl": 0}, {"dead_queue": "q"},
    ],
)  # fmt: skip
def test_limits_that_make_no_sense_are_refused(options):
    """A handler with a wrong limit is refused by a text that names it."""
    with pytest.raises(ValueError, match=next(iter(options))):
        a_handler(**options)


@pytest.mark.parametrize("wrong", [(-1, 5, 2), (5, 1, 2), (1, 5, 0.5)])
def test_a_backoff_that_makes_no_sense_is_refused(wrong):
    """Backoff takes growing pauses only."""
    with pytest.raises(ValueError, match="backoff needs"):
        Backoff(*wrong)
