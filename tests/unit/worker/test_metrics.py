"""A worker's figures, as Prometheus reads them."""

from __future__ import annotations

from time import time

import pytest
from prometheus_client import CollectorRegistry

from pydisque.worker import Worker
from pydisque.worker.handlers.hooks import Course
from pydisque.worker.handlers.stats import OUTCOMES
from pydisque.worker.metrics import PrometheusHook

from .jobs import a_handler, a_job


def a_worker(*queues: str, hook: PrometheusHook | None = None) -> Worker:
    """A worker whose hooks were told that it starts."""
    worker = Worker(hooks=[hook] if hook else [], concurrency=4)
    for queue in queues:
        worker.handler(queue)(print)
    for each in worker.hooks:
        each.start(worker)
    return worker


def value(hook: PrometheusHook, name: str, **labels: str) -> float | None:
    """One figure."""
    return hook.registry.get_sample_value(f"pydisque_worker_{name}", labels)


def test_everything_is_there_from_the_start():
    """Each queue has each outcome as 0 before any job, so that the first one makes a rate."""
    hook = PrometheusHook()
    a_worker("q", "r", hook=hook)
    for queue in ("q", "r"):
        assert value(hook, "fetched_total", queue=queue) == 0
        assert value(hook, "job_duration_seconds_count", queue=queue) == 0
        for outcome in OUTCOMES:
            assert value(hook, "jobs_total", queue=queue, outcome=outcome) == 0
    assert value(hook, "concurrency") == 4
    assert value(hook, "last_fetch_timestamp_seconds") == 0


def test_the_figures_are_the_tally():
    """What the worker counts is what is read, at the moment it is read."""
    hook = PrometheusHook()
    worker = a_worker("q", hook=hook)
    tally = worker.tally
    tally.fetched[b"q"], tally.dead[b"q"], tally.lost[b"q"], tally.in_hand = 7, 2, 1, 4
    tally.last_fetch = 0.0
    assert value(hook, "fetched_total", queue="q") == 7
    assert value(hook, "jobs_total", queue="q", outcome="dead") == 2
    assert value(hook, "jobs_total", queue="q", outcome="lease_lost") == 1
    assert value(hook, "in_hand") == 4
    assert 0 < value(hook, "last_fetch_timestamp_seconds") < time()


def test_how_long_jobs_take():
    """Every job that ran is in the histogram, whether it failed or not."""
    hook = PrometheusHook()
    a_worker("q", hook=hook)

    def fail(job):
        raise ValueError

    for function in (repr, fail):
        Course({b"q": a_handler(function=function)}, [hook]).run(a_job())
    assert value(hook, "job_duration_seconds_count", queue="q") == 2
    assert value(hook, "job_duration_seconds_bucket", queue="q", le="1.0") == 2


def test_workers_do_not_clash():
    """Two workers have figures of their own; with one hook for both it tells the sums."""
    mine, other = PrometheusHook(), PrometheusHook()
    a_worker("q", hook=mine).tally.done[b"q"] = 1
    second = a_worker("q", hook=other)
    second.tally.done[b"q"] = 2
    assert value(mine, "jobs_total", queue="q", outcome="done") == 1
    mine.start(second)
    mine.start(second)  # as after a stop
    assert value(mine, "jobs_total", queue="q", outcome="done") == 3
    assert value(mine, "concurrency") == 8


def test_one_registry_takes_one_hook():
    """A registry of the app's own is used; a second hook in it is refused with the way out."""
    registry = CollectorRegistry(auto_describe=True)
    assert PrometheusHook(registry=registry).registry is registry
    with pytest.raises(ValueError, match="give that one to every worker"):
        PrometheusHook(registry=registry)


def test_a_queue_with_any_name_can_be_read():
    """A queue whose name is no text is escaped, and spoils nothing."""
    hook = PrometheusHook()
    a_worker("\udcff", hook=hook)
    text, _ = hook.exposition()
    assert rb'queue="\\xff"' in text


def test_a_worker_with_http_has_them_by_itself():
    """http= brings the hook, unless there is one; that one is served then."""
    own = PrometheusHook()
    hooks = Worker(http=":0").hooks
    assert [type(hook) for hook in hooks[1:]] == [PrometheusHook]
    assert Worker(http=":0", hooks=[own]).hooks[1:] == [own]
