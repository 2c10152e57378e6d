"""Figures as text that Prometheus reads; needs the extra ``metrics``.

Has those of queues, which a node and a survey of nodes tell alike, so that dashboards and alerts
fit either. Where figures come from is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from pydisque.service.top_queues import NodeRow, QueueRow, readable

By = Iterable[tuple[Sequence[str], float | None]]
"""Values by their labels; None is left out."""


class Figures(Collector):
    """Figures of one moment; a value that is None is not known, and left out."""

    def __init__(self) -> None:
        self._families: list[Metric] = []

    def collect(self) -> list[Metric]:
        """All of them."""
        return self._families

    def gauge(self, name: str, text: str, value: float | None) -> None:
        """What it is now."""
        self.gauges(name, text, (), [((), value)])

    def gauges(self, name: str, text: str, labels: Sequence[str], values: By) -> None:
        """The same, by labels."""
        family = GaugeMetricFamily(name, text, labels=labels)
        self._add(family, [(by, value) for by, value in values if value is not None])

    def counter(self, name: str, text: str, value: float | None) -> None:
        """How many or how much there was so far; its name ends in ``_total``."""
        self.counters(name, text, (), [((), value)])

    def counters(self, name: str, text: str, labels: Sequence[str], values: By) -> None:
        """The same, by labels."""
        family = CounterMetricFamily(name, text, labels=labels)
        self._add(family, [(by, value) for by, value in values if value is not None])

    def _add(
        self,
        family: CounterMetricFamily | GaugeMetricFamily,
        values: list[tuple[Sequence[str], float]],
    ) -> None:
        for by, value in values:
            family.add_metric(by, value)
        if values:
            self._families.append(family)

    def summary(self, name: str, text: str, count: int, total: float) -> None:
        """How often something happened so far, and the sum of it."""
        self.summaries(name, text, (), [((), count, total)])

    def summaries(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        values: Iterable[tuple[Sequence[str], int, float]],
    ) -> None:
        """The same, by labels."""
        family = SummaryMetricFamily(name, text, labels=labels)
        for by, count, total in values:
            family.add_metric(by, count, total)
        self._families.append(family)

    def exposition(self, accept: str, *others: Collector) -> tuple[bytes, str]:
        """These and what others collect as text, and its content type, for this ``Accept``."""
        registry = CollectorRegistry()
        for each in (self, *others):
            registry.register(each)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type


def tell_queues(figures: Figures, rows: Sequence[QueueRow]) -> None:
    """Tell of some queues, each by its name."""

    def by_queue(field: str) -> By:
        return [((readable(row.name),), getattr(row, field)) for row in rows]

    labels = ("queue",)
    figures.gauges("pydisque_queue_length", "Jobs queued.", labels, by_queue("length"))
    figures.counters(
        "pydisque_queue_jobs_in_total",
        "Jobs queued so far, also again.",
        labels,
        by_queue("jobs_in"),
    )
    figures.counters(
        "pydisque_queue_jobs_out_total",
        "Jobs handed out so far.",
        labels,
        by_queue("jobs_out"),
    )
    figures.gauges(
        "pydisque_queue_blocked_clients",
        "Clients that wait for a job.",
        labels,
        by_queue("blocked"),
    )
    figures.gauges(
        "pydisque_queue_oldest_job_age_seconds",
        "How long ago the job was made that is next to be handed out.",
        labels,
        by_queue("oldest"),
    )
    figures.gauges(
        "pydisque_queue_active_jobs",
        "Jobs handed out and not acknowledged.",
        labels,
        by_queue("active"),
    )
    figures.gauges(
        "pydisque_queue_delayed_jobs",
        "Jobs that are yet to be queued for the first time.",
        labels,
        by_queue("delayed"),
    )
    figures.gauges(
        "pydisque_queue_paused",
        "Whether it is paused, by direction: 1 or 0.",
        ("queue", "direction"),
        [
            ((readable(row.name), way.decode()), int(row.pause in (way, b"all")))
            for row in rows
            for way in (b"in", b"out")
        ],
    )


def tell_system(
    figures: Figures, queues: int, queued: int, jobs_in: int | None, jobs_out: int | None
) -> None:
    """Tell of all queues together."""
    figures.gauge("pydisque_queues", "Queues there are.", queues)
    figures.gauge("pydisque_queued_jobs", "Jobs queued, in all queues.", queued)
    figures.counter(
        "pydisque_jobs_in_total", "Jobs queued so far, also again, in all queues.", jobs_in
    )
    figures.counter("pydisque_jobs_out_total", "Jobs handed out so far, of all queues.", jobs_out)


_GAUGES = {
    "jobs": ("pydisque_node_jobs", "Jobs that the node holds, in whatever state, copies too."),
    "queues": ("pydisque_node_queues", "Queues that the node holds."),
    "connected": ("pydisque_node_connected_clients", "Clients that are connected."),
    "blocked": ("pydisque_node_blocked_clients", "Clients that wait for jobs."),
    "memory": (
        "pydisque_node_memory_bytes",
        "What jobs, queues and the node itself take, as maxmemory counts it.",
    ),
    "uptime": ("pydisque_node_uptime_seconds", "How long the node has run."),
}
_COUNTERS = {
    "commands": ("pydisque_node_commands_total", "Commands run so far."),
    "connections": ("pydisque_node_connections_total", "Connections accepted so far."),
    "rejected": (
        "pydisque_node_rejected_connections_total",
        "Connections refused so far, as there were maxclients already.",
    ),
    "received": ("pydisque_node_received_bytes_total", "Bytes received from clients so far."),
    "sent": ("pydisque_node_sent_bytes_total", "Bytes sent to clients so far."),
}


def tell_nodes(
    figures: Figures, labels: Sequence[str], rows: Sequence[tuple[Sequence[str], NodeRow]]
) -> None:
    """Tell of some nodes, each with its values of these labels."""
    for field, (name, text) in _GAUGES.items():
        figures.gauges(name, text, labels, [(by, getattr(row, field)) for by, row in rows])
    for field, (name, text) in _COUNTERS.items():
        figures.counters(name, text, labels, [(by, getattr(row, field)) for by, row in rows])
