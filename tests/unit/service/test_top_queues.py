"""Which of many queues are shown: those with most to do, and the same ones as long as it can be."""

from __future__ import annotations

from pydisque.service.top_queues import Foremost, load, readable


def test_those_with_most_to_do_are_shown():
    """Of more queues than there are places, the ones with the highest loads get them."""
    foremost = Foremost(2)
    foremost.consider([(b"a", 1), (b"b", 30), (b"c", 2), (b"d", 20)])
    assert set(foremost.loads) == {b"b", b"d"}


def test_who_is_shown_stays():
    """One that has a little more to do takes nobody's place; one with more than twice does."""
    foremost = Foremost(2)
    foremost.consider([(b"a", 100), (b"b", 50)])
    foremost.consider([(b"c", 105)])
    assert set(foremost.loads) == {b"a", b"b"}
    foremost.consider([(b"c", 111)])
    assert set(foremost.loads) == {b"a", b"c"}


def test_idle_queues_do_not_take_turns():
    """Among queues with next to nothing to do, a few jobs more are no reason to change."""
    foremost = Foremost(1)
    foremost.consider([(b"a", 1)])
    foremost.consider([(b"b", 9)])
    assert set(foremost.loads) == {b"a"}


def test_who_is_gone_makes_room():
    """A queue that is gone is shown no more, and the next one has its place."""
    foremost = Foremost(1)
    foremost.consider([(b"a", 100)])
    foremost.refresh({}.get)
    foremost.consider([(b"b", 1)])
    assert foremost.loads == {b"b": 1}


def test_loads_are_as_of_now():
    """Who was shown with much to do and has little now makes place for who has more."""
    foremost = Foremost(1)
    foremost.consider([(b"a", 1000)])
    foremost.refresh({b"a": 5.0}.get)
    foremost.consider([(b"b", 100)])
    assert set(foremost.loads) == {b"b"}


def test_there_may_be_no_room():
    """Without places nobody is shown."""
    foremost = Foremost(0)
    foremost.consider([(b"a", 1)])
    assert not foremost.loads


def test_a_queue_that_is_always_empty_counts_by_what_goes_through_it():
    """A busy queue that is kept empty has more to do than an idle one that holds a few jobs."""
    assert load(length=0, jobs_in=60_000, age=600) > load(length=50, jobs_in=50, age=600)


def test_a_queue_of_a_moment_is_not_overrated():
    """A queue younger than a minute counts as one of a minute."""
    assert load(length=1, jobs_in=1, age=0) == 2


def test_any_name_is_text():
    """Bytes that are no UTF-8 are escaped, and no two names become the same."""
    assert readable(b"a\xff\xc3\xa9") == "a\\xff\u00e9"
    assert readable(rb"a\xff") == r"a\\xff"
