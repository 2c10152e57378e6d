"""A survey's figures for Prometheus; needs the extra ``metrics``.

Tells what was seen at the last look and asks nothing: however often it is scraped, the nodes are
asked no more. Of many queues few are told of one by one; those the survey follows from then on.
"""

from __future__ import annotations

import time

from pydisque.monitoring.figures import NodeFigures, QueueFigures, Sample
from pydisque.monitoring.monitor import Survey
from pydisque.service.prometheus import Figures, tell_nodes, tell_queues, tell_system
from pydisque.service.top_queues import Foremost, NodeRow, QueueRow


class SurveyMetrics:
    """The figures of one survey.

    ::

        survey = Survey(["localhost:7711"])
        metrics = SurveyMetrics(survey)
        await survey.look()
        text, content_type = metrics.exposition(accept)

    The names are those of a node's own figures where they mean the same.
    """

    def __init__(self, survey: Survey, *, queues: int = 1000) -> None:
        """Tell of so many queues one by one at most, those with most to do; of all their sums."""
        self._survey = survey
        self._foremost = Foremost(queues)
        self._seen: Sample | None = None
        self._counted: tuple[int | None, int | None] = None, None
        """Active and delayed jobs of all queues."""

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All figures as text, and its content type, for this ``Accept``."""
        survey = self._survey
        if survey.samples and survey.samples[-1] is not self._seen:
            self._seen = survey.samples[-1]
            self._choose()
        figures = Figures()
        _tell_survey(figures, survey)
        self._tell_nodes(figures)
        if self._seen is not None:
            self._tell_system(figures, self._seen)
        names = sorted(self._foremost.loads)
        queues = [queue for name in names if (queue := survey.queues.get(name)) is not None]
        tell_queues(figures, [_queue_row(queue) for queue in queues])
        return figures.exposition(accept)

    def _choose(self) -> None:
        """Sum up, see which queues have most to do, and have every look ask for those."""
        queues = self._survey.queues

        def load(name: bytes) -> float | None:
            queue = queues.get(name)
            return None if queue is None else _load(queue)

        self._foremost.refresh(load)
        every = list(queues.values())
        self._foremost.consider([(queue.name, _load(queue)) for queue in every])
        active, delayed = [queue.active for queue in every], [queue.delayed for queue in every]
        others = self._survey.others_counted
        self._counted = _together(active, others[0]), _together(delayed, others[1])
        self._survey.followed = set(self._foremost.loads)

    def _tell_nodes(self, figures: Figures) -> None:
        survey = self._survey
        nodes, labels = survey.nodes, ("node",)
        figures.gauges(
            "pydisque_node_up",
            "Whether the node could be asked at the last look.",
            labels,
            [((node.address,), int(not node.error)) for node in nodes],
        )
        figures.gauges(
            "pydisque_node_priority",
            "The lower the better; from 100 on it is failed or leaving, and clients avoid it.",
            labels,
            [((node.address,), node.priority) for node in nodes],
        )
        holding = {probe.name for probe in survey.asked}
        up = [node for node in nodes if not node.error]
        rows = [((node.address,), _node_row(node, holds=node.address in holding)) for node in up]
        tell_nodes(figures, labels, rows)

    def _tell_system(self, figures: Figures, seen: Sample) -> None:
        survey = self._survey
        tell_system(figures, survey.queue_count, seen.len, survey.jobs_in, survey.jobs_out)
        active, delayed = self._counted
        figures.gauge(
            "pydisque_active_jobs", "Jobs handed out and not acknowledged, of all queues.", active
        )
        figures.gauge(
            "pydisque_delayed_jobs",
            "Jobs that are yet to be queued for the first time, of all queues.",
            delayed,
        )


def _together(known: list[int | None], others: int) -> int | None:
    """The sum of those that are known, and of others; None if none is known."""
    counted = [number for number in known if number is not None]
    return sum(counted, others) if counted or not known else None


def _load(queue: QueueFigures) -> float:
    return queue.len + queue.in_rate * 60


def _tell_survey(figures: Figures, survey: Survey) -> None:
    figures.gauge(
        "pydisque_survey_complete",
        "Whether every queue was seen once: before that sums are too low.",
        int(survey.complete),
    )
    ago = time.monotonic() - survey.samples[-1].time if survey.samples else None
    figures.gauge(
        "pydisque_survey_last_look_timestamp_seconds",
        "When the nodes were last looked at; 0: never.",
        0 if ago is None else round(time.time() - ago, 3),
    )


def _queue_row(queue: QueueFigures) -> QueueRow:
    return QueueRow(
        queue.name,
        queue.len,
        queue.total_in,
        queue.total_out,
        queue.blocked,
        queue.pause,
        queue.oldest if queue.len else None,
        queue.active,
        queue.delayed,
    )


def _node_row(node: NodeFigures, *, holds: bool) -> NodeRow:
    """What a node's INFO says; jobs and queues only where they are not told by another as well."""
    figure = node.figure
    return NodeRow(
        jobs=figure("registered_jobs") if holds else None,
        queues=figure("registered_queues") if holds else None,
        connected=figure("connected_clients"),
        blocked=figure("blocked_clients"),
        memory=figure("used_memory"),
        uptime=figure("uptime_in_seconds"),
        commands=figure("total_commands_processed"),
        connections=figure("total_connections_received"),
        rejected=figure("rejected_connections"),
        received=figure("total_net_input_bytes"),
        sent=figure("total_net_output_bytes"),
    )
