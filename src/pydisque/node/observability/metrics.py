"""A node's figures for Prometheus; needs the extra ``metrics``.

Names and explains them. They are written in whatever thread wants them: all of them were taken
before, in the node's own.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector

from pydisque.node.observability.snapshot import JobFigures, JournalFigures, Snapshot, ValkeyFigures
from pydisque.service.prometheus import Figures, tell_nodes, tell_queues, tell_system

_PROCESS = ProcessCollector(registry=CollectorRegistry())  # not in everybody's


def exposition(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """A snapshot as text, and its content type, for this ``Accept``."""
    figures = Figures()
    _tell_node(figures, snapshot)
    tell_nodes(figures, (), [((), snapshot.row)])
    if snapshot.jobs is not None:
        queues = snapshot.row.queues or 0
        jobs = snapshot.jobs
        tell_system(figures, queues, jobs.queued, jobs.jobs_in, jobs.jobs_out)
        _tell_jobs(figures, jobs)
        tell_queues(figures, snapshot.queues)
    if snapshot.journal is not None:
        _tell_journal(figures, snapshot.journal)
    if snapshot.valkey is not None:
        _tell_valkey(figures, snapshot.valkey)
    return figures.exposition(accept, _PROCESS)


def _tell_node(figures: Figures, node: Snapshot) -> None:
    figures.gauges(
        "pydisque_node_info",
        "Which node it is, of what version, and where its jobs are: memory, journal or valkey.",
        ("version", "store", "id"),
        [((node.version, node.store, node.node_id), 1)],
    )
    figures.gauge(
        "pydisque_node_healthy", "Whether /health says that it is well.", int(not node.trouble)
    )
    figures.gauge("pydisque_node_leaving", "Whether it was told to leave.", int(node.leaving))
    figures.gauge("pydisque_node_max_clients", "The setting maxclients.", node.max_clients)
    figures.gauge("pydisque_node_memory_limit_bytes", "The setting maxmemory.", node.memory_limit)
    figures.counter(
        "pydisque_node_slow_commands_total", "Commands that went into SLOWLOG so far.", node.slow
    )
    figures.summaries(
        "pydisque_node_command_duration_seconds",
        "Commands run so far, and how long the node was at it.",
        ("command",),
        [((each.name,), each.calls, each.seconds) for each in node.commands],
    )


def _tell_jobs(figures: Figures, jobs: JobFigures) -> None:
    tally = jobs.tally
    for name, text, value in (
        ("added", "Jobs added so far, also delayed ones.", jobs.added),
        ("handed_out", "Jobs handed out so far.", jobs.jobs_out),
        ("acknowledged", "Jobs that clients acknowledged or deleted so far.", tally.removed),
        ("nacked", "Times so far that a NACK met a job.", tally.nacked),
        (
            "requeued",
            "Jobs queued again so far without a NACK, mostly as their RETRY was over.",
            tally.requeued,
        ),
        ("expired", "Jobs whose TTL was over before anybody acknowledged them.", tally.expired),
    ):
        figures.counter(f"pydisque_node_jobs_{name}_total", text, value)


def _tell_journal(figures: Figures, journal: JournalFigures) -> None:
    figures.summary(
        "pydisque_node_journal_commit_duration_seconds",
        "Commits so far, and how long they took, with the sync where there is one.",
        journal.commits,
        journal.seconds,
    )
    figures.counter(
        "pydisque_node_journal_failures_total", "Commits that failed so far.", journal.failures
    )
    figures.gauge("pydisque_node_journal_size_bytes", "Size of the journal's files.", journal.size)
    figures.gauge(
        "pydisque_node_journal_needed_bytes", "How much of it is still needed.", journal.needed
    )


def _tell_valkey(figures: Figures, valkey: ValkeyFigures) -> None:
    figures.gauge("pydisque_node_valkey_shards", "Shards that the jobs are in.", valkey.shards)
    figures.gauge(
        "pydisque_node_valkey_shards_missing",
        "Shards that this node cannot reach now.",
        valkey.missing,
    )
    figures.gauge(
        "pydisque_node_valkey_clock_difference_seconds",
        "Certain difference between the clocks of Valkey's servers: the fastest to the slowest.",
        valkey.clock_difference,
    )
    figures.gauge(
        "pydisque_node_valkey_promotable_replicas",
        "Replicas that a failover could promote, and that have a change before it is confirmed.",
        valkey.promotable,
    )
    figures.gauge(
        "pydisque_node_valkey_awaited_replicas",
        "Promotable replicas that have not confirmed for a second: replies wait for them.",
        valkey.awaited,
    )
    figures.summary(
        "pydisque_node_valkey_round_trip_seconds",
        "How often Valkey answered this node's question of each second, and how long it took.",
        valkey.answers,
        valkey.seconds,
    )
