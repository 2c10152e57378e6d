"""What comes of jobs in every executor, on every kind of server."""

from __future__ import annotations

import os

import pytest

from pydisque.worker import Backoff
from support.servers import until

from . import handlers
from .conftest import gone, left, letters

EXECUTORS = ["threads", "asyncio", "processes"]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_job_is_done_once(make_worker, sync_client, queue, notes, executor):
    """Jobs added before and after the worker's start are each run once and acknowledged."""
    ids = sync_client.add_jobs(queue, [f"job {n}" for n in range(60)])
    worker = make_worker(executor, concurrency=3)
    ids += sync_client.add_jobs(queue, [f"job {n}" for n in range(60)])
    gone(sync_client, queue)
    assert sorted(note.id for note in notes.all()) == sorted(id_.decode() for id_ in ids)
    assert {note.attempt for note in notes.all()} == {1}
    until(lambda: worker.tally.done.total() == 120)
    assert worker.tally.in_hand == 0
    here = {note.process for note in notes.all()} == {os.getpid()}
    assert here is (executor != "processes")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_fails_is_tried_again_and_then_dead(make_worker, sync_client, queue, notes, executor):
    """A job that always fails is run max_attempts times; its dead letter tells its whole story."""
    make_worker(executor, max_attempts=3, backoff=Backoff(0, 0), concurrency=2)
    id_ = sync_client.add_job(queue, "fail with a text")
    [letter] = letters(sync_client, f"{queue}:dead")
    gone(sync_client, queue)
    assert notes.attempts(id_) == [1, 2, 3]
    assert letter.id == id_.decode()
    assert (letter.queue, letter.nacks, letter.additional_deliveries) == (queue, 2, 0)
    assert letter.error == "ValueError: with a text"
    assert "raise ValueError(argument)" in letter.traceback
    assert letter.body == b"fail with a text"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_handler_can_say_what_becomes_of_a_job(make_worker, sync_client, queue, notes, executor):
    """Drop forgets the job, Dead buries it at once with its reason, and both run once."""
    worker = make_worker(executor, concurrency=2)
    ids = sync_client.add_jobs(queue, ["drop", "dead of old age"])
    [letter] = letters(sync_client, f"{queue}:dead")
    gone(sync_client, queue)
    assert letter.error == "of old age"
    assert all(notes.attempts(id_) == [1] for id_ in ids)
    until(lambda: worker.tally.dropped.total() == 1)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_job_that_exits_ends_itself_alone(make_worker, sync_client, queue, notes, executor):
    """sys.exit in a handler is a failed attempt; the worker goes on."""
    make_worker(executor, max_attempts=1, concurrency=2)
    sync_client.add_job(queue, "exit")
    [letter] = letters(sync_client, f"{queue}:dead")
    assert letter.error == "SystemExit: 3"
    later = sync_client.add_job(queue, "later")
    gone(sync_client, queue)
    assert notes.attempts(later) == [1]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_bodies_in_a_format_of_ones_own(make_worker, sync_client, queue, notes, executor):
    """What decodes bodies can be given with a handler, and runs where the handler does."""
    make_worker(executor, function=handlers.value, decode=handlers.reverse, concurrency=1)
    id_ = sync_client.add_job(queue, "abc")
    gone(sync_client, queue)
    assert notes.words(id_) == {"cba"}


def test_a_job_waits_on_the_server_for_its_next_attempt(make_worker, sync_client, queue, notes):
    """The pause after a failure is the server's: no worker holds the job, and none need live."""
    worker = make_worker(max_attempts=5)
    sync_client.add_job(queue, "retry 2")
    until(lambda: worker.tally.retried.total() == 1)
    worker.stop()
    assert worker.join(10) == 0
    [id_] = left(sync_client, queue)
    info = sync_client.show(id_)
    assert info.state == b"active"
    assert sync_client.qlen(queue) == 0
    make_worker(max_attempts=5)
    until(lambda: len(notes.all()) == 2)
    assert [note.attempt for note in notes.all()] == [1, 2]


def test_a_job_whose_time_is_over_first_is_dead(make_worker, sync_client, queue, notes):
    """A job that would expire before its next attempt is not lost without a word."""
    make_worker(max_attempts=5)
    sync_client.add_job(queue, "retry 100", ttl=50, retry=10)
    [letter] = letters(sync_client, f"{queue}:dead")
    assert "its ttl is over before it could be tried again in 100 s" in letter.error


def test_a_job_nobody_answers_for_is_dead_in_the_end(make_worker, sync_client, queue, notes):
    """A job that was delivered too often without an answer is not run again."""
    id_ = sync_client.add_job(queue, "ends its workers", retry=1)
    for _ in range(4):  # as if four workers had died of it
        [job] = sync_client.get_jobs([queue], timeout=10_000)
    assert job.additional_deliveries == 3
    make_worker(max_additional_deliveries=2)
    [letter] = letters(sync_client, f"{queue}:dead")
    assert letter.id == id_.decode()
    assert "without an answer" in letter.error
    assert notes.all() == []


def test_a_dead_letter_that_is_not_wanted(make_worker, sync_client, queue, notes):
    """With dead_queue=None a job is forgotten after its last attempt."""
    worker = make_worker(max_attempts=1, dead_queue=None)
    sync_client.add_job(queue, "fail")
    gone(sync_client, queue)
    until(lambda: worker.tally.dropped.total() == 1)
    assert sync_client.qlen(f"{queue}:dead") == 0


def test_a_dead_letter_that_finds_no_place(make_worker, sync_client, queue, notes):
    """While the dead queue takes nothing, the job is not given up: it comes again by RETRY."""
    sync_client.pause(f"{queue}:dead", kw_in=True)
    make_worker(max_attempts=1)
    id_ = sync_client.add_job(queue, "fail", retry=1)
    until(lambda: len(notes.attempts(id_)) >= 2, 20)
    sync_client.pause(f"{queue}:dead", kw_none=True)
    letters(sync_client, f"{queue}:dead")
    gone(sync_client, queue)


def test_at_most_once_fails_once(make_worker, sync_client, queue, notes):
    """A job with retry=0 that fails is a dead letter at once."""
    make_worker(max_attempts=5)
    id_ = sync_client.add_job(queue, "fail", retry=0, replicate=1)
    letters(sync_client, f"{queue}:dead")
    gone(sync_client, queue)
    assert notes.attempts(id_) == [1]


def test_fast_ack(make_worker, sync_client, queue, notes):
    """With fast_ack=True jobs are acknowledged with FASTACK."""
    make_worker(fast_ack=True)
    sync_client.add_jobs(queue, ["1", "2", "3"])
    gone(sync_client, queue)
    assert len(notes.all()) == 3


# In processes of their own


@pytest.mark.parametrize(
    ("body", "error"),
    [("segfault", "SIGSEGV"), ("sleep 60", "TimeoutError: the job took longer than 0.5 s")],
)
def test_a_process_that_dies_is_a_failed_attempt(
    make_worker, sync_client, queue, notes, body, error
):
    """A job that ends its process, or is ended for taking too long, fails; the worker goes on."""
    make_worker("processes", concurrency=1, max_attempts=2, backoff=0, timeout=0.5)
    id_ = sync_client.add_job(queue, body)
    [letter] = letters(sync_client, f"{queue}:dead")
    assert error in letter.error
    assert notes.attempts(id_) == [1, 2]
    later = sync_client.add_job(queue, "later")
    gone(sync_client, queue)
    assert notes.attempts(later) == [1]


def test_an_error_that_cannot_travel(make_worker, sync_client, queue, notes):
    """An error that cannot be pickled is told by its text."""
    make_worker("processes", function=handlers.odd, concurrency=1, max_attempts=1)
    sync_client.add_job(queue, "")
    [letter] = letters(sync_client, f"{queue}:dead")
    assert "UnpicklableError" in letter.error
    assert "raise UnpicklableError(1, 2)" in letter.traceback


def test_a_coroutine_in_a_process(make_worker, sync_client, queue, notes):
    """A process runs coroutines too."""
    make_worker("processes", function=handlers.awaited, concurrency=1)
    id_ = sync_client.add_job(queue, "sleep 0.01")
    gone(sync_client, queue)
    assert notes.attempts(id_) == [1]


def test_a_function_no_process_can_find_is_refused(make_worker):
    """A handler within a function is refused by name when the worker starts."""

    def local(job):
        pass

    with pytest.raises(ValueError, match=r"top level of a module.*local"):
        make_worker("processes", function=local)


# As tasks


def test_a_task_that_takes_too_long_is_cancelled(make_worker, sync_client, queue, notes):
    """A coroutine with a timeout is cancelled when it is over, and has failed."""
    make_worker("asyncio", max_attempts=1, timeout=0.3)
    sync_client.add_job(queue, "sleep 60")
    [letter] = letters(sync_client, f"{queue}:dead")
    assert letter.error.startswith("TimeoutError")


def test_plain_functions_among_tasks(make_worker, sync_client, queue, notes):
    """A handler that is no coroutine runs in a thread, and holds up no other."""
    make_worker("asyncio", function=handlers.plain, concurrency=2)
    slow = sync_client.add_job(queue, "sleep 5")
    until(lambda: notes.begun(slow))
    quick = sync_client.add_job(queue, "quick")
    until(lambda: notes.begun(quick), 3)


# Wrong from the start


def test_what_does_not_fit_is_refused(make_worker):
    """A coroutine for threads, and a timeout for what cannot be stopped, are refused by name."""
    with pytest.raises(ValueError, match="coroutine function, which threads cannot run"):
        make_worker("threads", function=handlers.awaited)
    with pytest.raises(ValueError, match="a thread cannot be stopped"):
        make_worker("threads", timeout=3)
