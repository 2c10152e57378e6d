"""Systems as the live view may find them, made up and always the same."""

from __future__ import annotations

from pydisque.cli.top.state import Scene
from pydisque.monitoring.figures import NodeFigures, QueueFigures, Sample
from pydisque.protocol.envelope import wrap
from pydisque.protocol.replies import JobInfo

HOSTILE = b"a\x1b[31m\x9b2J\xff\xe7\x95\x8c\xe2\x80\xae"
"""A name with escape sequences, no text, a wide letter, and what turns writing around."""


def queue(name: bytes, **figures) -> QueueFigures:
    made = QueueFigures(name)
    for each, value in figures.items():
        setattr(made, each, value)
    for at in range(6):
        share = at * made.len // 5, at * made.in_rate / 5, at * made.out_rate / 5
        made.samples.append(Sample(float(at), *share))
    return made


def job(at: int, body: bytes = b"x", **figures) -> JobInfo:
    told = {
        "id": b"D-0f3e2c18-%024d-05a1" % at, "queue": b"mail", "state": b"queued", "repl": 1,
        "ttl": 86399, "ctime": 1_700_000_000 * 10**9, "delay": 0, "retry": 300, "nacks": 0,
        "additional-deliveries": 0, "nodes-delivered": [b"n"], "nodes-confirmed": [],
        "next-requeue-within": 299_500, "next-awake-within": 299_000, "body": body,
    } | figures  # fmt: skip
    return JobInfo(x for name, value in told.items() for x in (name.encode(), value))


def node(address: str, **figures) -> NodeFigures:
    info = {
        "disque_version": "1.0.0", "uptime_in_seconds": 90061, "registered_jobs": 1234567,
        "registered_queues": 4, "connected_clients": 12, "blocked_clients": 3,
        "used_memory_human": "1.35M", "instantaneous_ops_per_sec": 4321,
    }  # fmt: skip
    return NodeFigures("0f3e2c18", address, info=info, **figures)


def scene() -> Scene:
    queues = [
        queue(b"mail", len=1234, in_rate=120.0, out_rate=98.4, active=16, delayed=3, blocked=2,
              jobs_in=5000, jobs_out=3766, age=90000, oldest=75.0),
        queue(b"images:thumbnails", len=1_234_567, in_rate=1500.0, out_rate=0.2, active=None,
              pause=b"in", idle=3, import_rate=40, import_from=["n1", "n2"]),
        queue(HOSTILE, len=7, idle=7200, active=0, delayed=0),
        queue(b"empty", idle=200_000, blocked=1, active=1, delayed=0),
    ]  # fmt: skip
    return Scene(
        queues={each.name: each for each in queues},
        nodes=[node("10.0.0.1:7711"), node("10.0.0.2:7711", error="Connection refused")],
        samples=[Sample(float(i), 100 * i, 10.0 * i, 5.0) for i in range(30)],
        jobs=[
            job(1, b'{"to": "ada@example.org"}'),
            job(2, wrap(b"\x1b[2J\xff", {"trace": "4bf9"}), nacks=2),
            job(3, "界界".encode() * 60, **{"additional-deliveries": 1}),
        ],
        job=job(1, wrap(b'{"to": "ada", "name": "\x1b[31m"}', {"trace": "4bf9"})),
        job_asked=True,
    )
