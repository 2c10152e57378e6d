"""A worker's figures, as OpenTelemetry's SDK collects them."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from pydisque.worker import Retry, Worker
from pydisque.worker.handlers.hooks import Course
from pydisque.worker.handlers.policy import RemoteError
from pydisque.worker.handlers.stats import OUTCOMES
from pydisque.worker.instruments import BOUNDS, OpenTelemetryMetricsHook

from .jobs import a_handler, a_job

QUEUE = {"messaging.system": "disque", "messaging.destination.name": "q"}


class Collected:
    """A hook, and what is collected of it."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.hook = OpenTelemetryMetricsHook(MeterProvider([self._reader], shutdown_on_exit=False))

    def worker(self) -> Worker:
        worker = Worker(hooks=[self.hook], concurrency=4)
        worker.handler("q")(print)
        self.hook.start(worker)
        return worker

    def run(self, function: Any) -> None:
        Course({b"q": a_handler(function=function)}, [self.hook]).run(a_job())

    def points(self, name: str) -> list[Any]:
        [resource] = self._reader.get_metrics_data().resource_metrics
        [scope] = resource.scope_metrics
        assert scope.scope.name == "pydisque"
        [metric] = [metric for metric in scope.metrics if metric.name == name]
        return list(metric.data.data_points)

    def values(self, name: str) -> list[tuple[dict[str, Any], float]]:
        return [(dict(point.attributes), point.value) for point in self.points(name)]


def test_how_long_jobs_take():
    """Every job that ran is in the histogram, in seconds; one that failed with its error's kind."""
    collected = Collected()

    def fail(job):
        raise LookupError

    def later(job):
        raise Retry

    def elsewhere(job):
        raise RemoteError("app.BadError: no", "a trace")

    for function in (repr, later, fail, elsewhere):
        collected.run(function)
    points = collected.points("messaging.process.duration")
    kinds = {dict(p.attributes).get("error.type"): p.count for p in points}
    assert kinds == {None: 2, "LookupError": 1, "app.BadError": 1}
    assert tuple(points[0].explicit_bounds) == BOUNDS
    about = QUEUE | {"messaging.operation.name": "process"}
    assert about in [dict(point.attributes) for point in points]


def test_the_figures_are_the_tally():
    """What the worker counts is what is collected, at the moment it is."""
    collected = Collected()
    worker = collected.worker()
    worker.tally.fetched[b"q"], worker.tally.dead[b"q"], worker.tally.in_hand = 7, 2, 3
    about = QUEUE | {"messaging.operation.name": "receive"}
    assert collected.values("messaging.client.consumed.messages") == [(about, 7)]
    ended = {p["outcome"]: number for p, number in collected.values("pydisque.worker.jobs")}
    assert ended == dict.fromkeys(OUTCOMES, 0) | {"dead": 2}
    assert collected.values("pydisque.worker.in_hand") == [({"messaging.system": "disque"}, 3)]
    assert collected.values("pydisque.worker.concurrency")[0][1] == 4


def test_several_workers_are_summed():
    """With one hook for several workers it tells the sums."""
    collected = Collected()
    for fetched in (1, 2):
        collected.worker().tally.fetched[b"q"] = fetched
    assert collected.values("messaging.client.consumed.messages")[0][1] == 3
    assert collected.values("pydisque.worker.concurrency")[0][1] == 8
