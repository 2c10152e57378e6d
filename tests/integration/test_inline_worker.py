"""A worker's handlers run in the test, by the worker's own rules, in a time that the test moves."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import UTC, datetime

import pytest

from pydisque.client import Client
from pydisque.testing import Clock, InlineWorker
from pydisque.worker import Backoff, Dead, Drop, Hook, Retry, Worker


def fail(job):
    raise ValueError("no address")


def outcomes(inline: InlineWorker, **options) -> list[str]:
    return [end.outcome for end in inline.run(**options)]


def test_all_that_is_due_runs(disque_worker):
    """A run takes every job that is due, those that handlers add too, and tells of each."""
    seen = []
    inline = disque_worker({
        "first": lambda job: inline.add_job("second", job.body),
        "second": lambda job: seen.append((job.queue, job.body, job.attempt)),
    })  # fmt: skip
    assert inline.run() == []
    job_id = inline.add_json("first", {"to": "ada"})
    inline.add_job("second", b"later", delay=60)
    ends = inline.run()
    assert [(end.job.queue, end.outcome, end.error) for end in ends] == [
        ("first", "done", None),
        ("second", "done", None),
    ]
    assert seen == [("second", b'{"to":"ada"}', 1)]
    assert inline.client.show(job_id) is None
    inline.advance(60)
    assert outcomes(inline) == ["done"]
    assert len(inline.ended) == 3


def test_pauses_are_the_whole_ones(disque_worker):
    """A failed job comes again after its exact pause, and after its last attempt it is dead."""
    worker = Worker()
    worker.handler("emails", max_attempts=3, backoff=Backoff(first=10))(fail)
    inline = disque_worker(worker)
    job_id = inline.add_json("emails", {"to": "ada"})
    assert [end.delay for end in inline.run()] == [10]
    inline.advance(9)
    assert inline.run() == []
    inline.advance(1)
    assert [(end.outcome, end.delay) for end in inline.run()] == [("retried", 20)]
    assert inline.dead("emails") == []
    inline.advance(20)
    assert outcomes(inline) == ["dead"]
    [letter] = inline.dead("emails")
    assert (letter.id, letter.body) == (job_id.decode(), b'{"to":"ada"}')
    assert (letter.nacks, letter.error) == (2, "ValueError: no address")
    died = datetime.fromtimestamp(inline.clock(), UTC).isoformat(timespec="seconds")
    assert letter.at == died
    assert inline.dead("emails") == [letter]
    assert [str(error) for error in inline.errors] == ["no address"] * 3


@pytest.mark.parametrize(
    ("asked", "outcome", "delay"),
    [
        (Retry(5), "retried", 5),
        (Retry(), "retried", 1),
        (Drop(), "dropped", None),
        (Dead("bad"), "dead", None),
    ],
)
def test_what_a_handler_asks_for(disque_worker, asked, outcome, delay):
    """Retry, Drop and Dead do what they do in a worker, and are no errors."""

    def ask(job):
        raise asked

    inline = disque_worker({"q": ask})
    inline.add_job("q", "body")
    [end] = inline.run(raise_errors=True)
    assert (end.outcome, end.delay, end.error) == (outcome, delay, asked)
    assert inline.errors == []
    assert len(inline.dead("q")) == (outcome == "dead")


def test_errors_are_raised_if_wanted(disque_worker):
    """raise_errors raises what a handler raised; the node knows of the failure by then."""
    inline = disque_worker({"q": fail})
    job_id = inline.add_job("q", "body")
    with pytest.raises(ValueError, match="no address"):
        inline.run(raise_errors=True)
    assert inline.client.show(job_id).nacks == 1


def test_a_test_can_fail_within_a_handler(disque_worker):
    """What ends a test, such as pytest.fail or Ctrl-C, is no failure of the job."""
    for end in (KeyboardInterrupt, pytest.fail.Exception):

        def stop(job, end=end):
            raise end

        inline = disque_worker({"q": stop})
        inline.add_job("q", "body")
        with pytest.raises(end):
            inline.run()


def test_coroutines(disque_worker):
    """Async handlers run in one loop, each with its timeout, and in the context hooks made."""
    current = contextvars.ContextVar("current", default="")
    seen = []

    class Sets(Hook):
        def before(self, job):
            current.set(job.id)

    worker = Worker(hooks=[Sets()])

    @worker.handler("q", timeout=0.01)
    async def handle(job):
        seen.append((asyncio.get_running_loop(), current.get() == job.id))
        await asyncio.sleep(5 if job.body == b"slow" else 0)

    inline = disque_worker(worker)
    for body in ("quick", "slow", "quick"):
        inline.add_job("q", body)
    assert outcomes(inline) == ["done", "retried", "done"]
    assert [type(error) for error in inline.errors] == [TimeoutError]
    assert {told for _, told in seen} == {True}
    assert len({loop for loop, _ in seen}) == 1


async def test_within_a_loop(disque_worker):
    """In a test that is a coroutine, run says what to do instead, and that works."""
    inline = disque_worker({"q": print})
    with pytest.raises(RuntimeError, match=r"await asyncio.to_thread\(inline.run\)"):
        inline.run()
    inline.add_job("q", "body")
    assert len(await asyncio.to_thread(inline.run)) == 1


def test_a_job_without_end(disque_worker):
    """Jobs that always make another are stopped after a while."""
    inline = disque_worker({"q": lambda job: inline.add_job("q", "another")})
    inline.add_job("q", "body")
    with pytest.raises(RuntimeError, match="after 20 jobs there are still more"):
        inline.run(most=20)


def test_a_job_that_ended_its_workers(disque_worker):
    """A job that was delivered too often without an answer is dead without being run."""
    ran = []
    worker = Worker()
    worker.handler("q", max_additional_deliveries=1)(ran.append)
    inline = disque_worker(worker)
    inline.add_job("q", "body", retry=10)
    for _ in range(2):
        assert inline.client.get_job(["q"], nohang=True)
        inline.advance(11)
    assert outcomes(inline) == ["dead"]
    assert ran == []
    assert "delivered 2 times without an answer" in inline.dead("q")[0].error


def test_a_job_whose_ttl_is_over(disque_worker):
    """A job that is gone by the time it has failed is told as that."""

    def take_long(job):
        inline.advance(200)
        raise ValueError

    inline = disque_worker({"q": take_long})
    inline.add_job("q", "body", ttl=100, retry=0)
    assert outcomes(inline) == ["gone"]


def test_only_kept_dead_letters_can_be_looked_at(disque_worker):
    """Asking for dead letters that nobody keeps is an error, not an empty list."""
    worker = Worker()
    worker.handler("q", dead_queue=None)(fail)
    inline = disque_worker(worker)
    for queue in ("q", "typo"):
        with pytest.raises(ValueError, match="keeps dead letters"):
            inline.dead(queue)


def test_hooks_are_called(disque_worker):
    """The worker's hooks are called as ever."""
    told = []

    class Tells(Hook):
        def start(self, worker):
            told.append(worker)

        def error(self, job, error, seconds):
            told.append(str(error))

    worker = Worker(hooks=[Tells()])
    worker.handler("q")(fail)
    inline = disque_worker(worker)
    inline.add_job("q", "body")
    inline.run()
    assert told == [worker, "no address"]


def test_without_pytest():
    """It is made of a client and a clock, and needs no fixture."""
    clock = Clock()
    with clock.server() as server, Client(server.address) as client:
        inline = InlineWorker({"q": print}, client, clock)
        client.add_job("q", "body", delay=60)
        clock.advance(60)
        assert outcomes(inline) == ["done"]
