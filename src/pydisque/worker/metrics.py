"""A worker's figures for Prometheus; needs the extra ``metrics``.

What the worker counts anyway is read when somebody asks; only how long jobs take is noted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pydisque.service.top_queues import readable
from pydisque.worker.handlers.hooks import Hook
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.stats import together

if TYPE_CHECKING:
    from pydisque.worker.handlers.hooks import WorkerView

# Seconds: some jobs are over in a moment, some take an hour.
BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, inf),
)


class PrometheusHook(Hook):
    """Figures of the workers that have this hook; given to several, it tells their sums.

    A worker with ``http=`` has one by itself, with a registry of its own, and serves it under
    ``/metrics``. To have the figures among your own, or to serve them yourself::

        worker = Worker(hooks=[PrometheusHook(registry=prometheus_client.REGISTRY)])
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, buckets: Sequence[float] = BUCKETS
    ) -> None:
        """Make the figures, and register them.

        Args:
            registry: Where; default: a registry of its own, see `registry`.
            buckets: The upper bounds in seconds of the histogram of how long jobs take.

        Raises:
            ValueError: The registry has figures of these names already.
        """
        self.registry = CollectorRegistry() if registry is None else registry
        self._workers: dict[WorkerView, list[bytes]] = {}
        self._histograms: dict[bytes, Histogram] = {}
        try:
            self._seconds = Histogram(
                "pydisque_worker_job_duration_seconds",
                "How long handlers took, whatever came of it.",
                ["queue"],
                registry=self.registry,
                buckets=buckets,
            )
            self.registry.register(_Figures(self._workers))
        except ValueError as error:
            if "Duplicated" not in str(error):
                raise
            raise ValueError(
                "this registry has a PrometheusHook already: give that one to every worker"
            ) from error

    def start(self, worker: WorkerView) -> None:
        """Tell what this worker does, from now on."""
        self._workers[worker] = queues = list(worker.course().handlers)
        for queue in queues:
            self._histograms[queue] = self._seconds.labels(readable(queue))

    def after(self, job: WorkerJob, seconds: float) -> None:
        """Note how long it took."""
        self._histograms[job.name].observe(seconds)

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:  # noqa: ARG002
        """Note how long it took."""
        self._histograms[job.name].observe(seconds)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All that is in the registry as text, and its content type, for this ``Accept``."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _Figures(Collector):
    """Turns the tallies of workers into figures, when somebody asks."""

    def __init__(self, workers: dict[WorkerView, list[bytes]]) -> None:
        self._workers = workers

    def describe(self) -> list[Metric]:
        """What will come, by name: a registry refuses names it has already."""
        return [*_jobs({}), *_gauges([])]

    def collect(self) -> list[Metric]:
        """What the tallies say now."""
        workers = self._workers.copy()
        return [*_jobs(workers), *_gauges(list(workers))]


def _jobs(workers: dict[WorkerView, list[bytes]]) -> list[Metric]:
    """Jobs by queue."""
    fetched, jobs = together((worker.tally, queues) for worker, queues in workers.items())
    deliveries = CounterMetricFamily(
        "pydisque_worker_fetched", "Deliveries taken from a node.", labels=["queue"]
    )
    for queue, number in fetched.items():
        deliveries.add_metric([readable(queue)], number)
    ended = CounterMetricFamily(
        "pydisque_worker_jobs", "Jobs by what became of them.", labels=["queue", "outcome"]
    )
    for (queue, outcome), number in jobs.items():
        ended.add_metric([readable(queue), outcome], number)
    return [deliveries, ended]


def _gauges(workers: list[WorkerView]) -> list[Metric]:
    tallies = [worker.tally for worker in workers]
    fetches = [tally.last_fetch for tally in tallies if tally.last_fetch is not None]
    last_fetch = time() - (monotonic() - max(fetches)) if fetches else 0.0
    return [
        GaugeMetricFamily(
            "pydisque_worker_in_hand",
            "Jobs fetched and not yet over.",
            sum(tally.in_hand for tally in tallies),
        ),
        GaugeMetricFamily(
            "pydisque_worker_concurrency",
            "How many jobs run at once, at most.",
            sum(worker.concurrency for worker in workers),
        ),
        GaugeMetricFamily(
            "pydisque_worker_last_fetch_timestamp_seconds",
            "When a node last answered a fetch, with or without a job; 0: never.",
            round(last_fetch, 3),
        ),
    ]
