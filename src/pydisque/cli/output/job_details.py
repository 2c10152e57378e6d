"""What is known of a job beside its body, as text. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from pydisque.cli.output.tables import duration
from pydisque.monitoring.text import shown
from pydisque.protocol.replies import JobInfo


def facts(info: JobInfo) -> list[tuple[str, object]]:
    """What is known of a job beside its body, by name."""
    made = datetime.fromtimestamp(info.ctime // 1_000_000_000, UTC)
    return [
        ("id", info.id.decode()),
        ("queue", shown(info.queue or b"")),
        ("state", info.state.decode()),
        ("made", f"{made:%Y-%m-%dT%H:%M:%SZ}"),
        ("ttl", f"{duration(info.ttl)} left"),
        ("retry", duration(info.retry) if info.retry else "never: at most once"),
        ("delay", duration(info.delay)),
        ("next", due(info)),
        ("nacks", info.nacks),
        ("redelivered", info.additional_deliveries),
        ("copies", f"{info.repl} wanted, perhaps on {len(info.nodes_delivered)}"),
    ]


def due(info: JobInfo) -> str:
    """When the job is queued again."""
    within = info.next_requeue_within
    return "" if within is None else f"in {duration(-(-within // 1000))}"
