"""What a survey keeps is bounded, however many queues, jobs and nodes come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pydisque import Client
from pydisque.cli.top.state import Scene
from pydisque.dashboard import poller
from pydisque.monitoring import state_counts
from pydisque.monitoring.figures import MAX_GONE_NODES, QueueFigures
from pydisque.monitoring.jobs import JobList
from pydisque.monitoring.metrics import SurveyMetrics
from pydisque.monitoring.monitor import MAX_NODES, Survey
from pydisque.monitoring.state_counts import Census
from pydisque.node import Server
from pydisque.protocol.replies import JobInfo, QueueStats
from support.fake_node import FakeNode, bulk

NEW = 300
"""Queues that are new with each look."""
ROOM = 500
"""Queues that the survey keeps."""
LOOKS = 12
OURS = "pydisque.monitoring.", "pydisque.service.top_queues"


@pytest.fixture
async def survey(node: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Survey]:
    """One that asks for fewer queues than come."""
    monkeypatch.setattr("pydisque.monitoring.monitor.FIRST", 200)
    monkeypatch.setattr("pydisque.monitoring.monitor.PAGE", 50)
    monkeypatch.setattr("pydisque.monitoring.monitor.BUSIEST", 20)
    survey = Survey([node.address], budget=200, room=ROOM)
    yield survey
    await survey.aclose()


def add(client: Client, names: list[str], copies: int = 1) -> None:
    with client.pipeline() as pipeline:
        for name in names * copies:
            pipeline.add_job(name, "x")
        pipeline.execute()


def tables(value: object, path: str = "") -> dict[str, int]:
    """The sizes of all tables of an object of ours and of those it has, but for samples."""
    found: dict[str, int] = {}
    for name, each in vars(value).items():
        where = f"{path}.{name}"
        if isinstance(each, (dict, set, list, tuple, frozenset)):
            found[where] = len(each)
        elif hasattr(each, "__dict__") and type(each).__module__.startswith(
            ("pydisque.monitoring.", "pydisque.service.top_queues")
        ):
            found |= {} if name == "_survey" else tables(each, where)
    return found


async def test_tables_while_queues_come_without_end(client, survey):
    """No table of the survey, its metrics or its probes grows with the names that it has met."""
    metrics = SurveyMetrics(survey, queues=50)
    for at in range(LOOKS):
        add(client, [f"{at}-{n}" for n in range(NEW)])
        await survey.look()
        metrics.exposition()
        sizes = tables(survey, "survey") | tables(metrics, "metrics")
        for probe in survey.probes:
            sizes |= tables(probe, "probe")
        assert max(sizes.values()) <= ROOM + 50, sizes
    assert len(survey.queues) >= ROOM
    for _ in range(60):  # all are listed once and once more
        await survey.look()
    assert survey.complete
    assert survey.queue_count == LOOKS * NEW
    assert survey.samples[-1].len == LOOKS * NEW


async def test_queues_that_are_gone_make_room(client, survey):
    """Queues that a node has dropped are forgotten, however many new ones there are each time."""
    for at in range(LOOKS):
        client.execute_command("DEBUG", "FLUSHALL")
        add(client, [f"{at}-{n}" for n in range(NEW)])
        await survey.look()
        assert len(survey.queues) <= ROOM
    for _ in range(10):
        await survey.look()
    assert set(survey.queues) == {f"{LOOKS - 1}-{n}".encode() for n in range(NEW)}
    assert survey.samples[-1].len == NEW
    assert survey.queue_count == NEW


async def test_the_queues_with_most_to_do_are_kept(client, survey):
    """A long queue is met in its turn and stays, as do those that are watched or followed."""
    survey.watched, survey.followed = {b"0-1"}, {b"0-2"}
    add(client, ["long"], copies=100)
    for at in range(LOOKS):
        add(client, [f"{at}-{n}" for n in range(NEW)])
        await survey.look()
    while not survey.complete:
        await survey.look()
    assert {b"long", b"0-1", b"0-2"} <= survey.queues.keys()


async def test_jobs_are_not_counted_twice(client, survey):
    """A queue that was let go of and comes again brings no jobs that were counted before."""
    names = [f"{n}" for n in range(2 * ROOM)]
    await survey.look()
    add(client, names)
    for _ in range(60):
        await survey.look()
    assert survey.jobs_in <= len(names)


async def test_top_counts_those_that_are_not_kept(client, survey):
    """What is said of how many queues there are has those of which only sums are kept."""
    add(client, [f"{n}" for n in range(3 * ROOM)])
    while not survey.complete:
        await survey.look()
    scene = Scene(survey.queues, survey.queue_count - len(survey.queues))
    assert len(scene.queues) + scene.others == 3 * ROOM


def job(name: bytes) -> JobInfo:
    return JobInfo([b"id", b"D-x", b"queue", name, b"ctime", 0, b"delay", 0, b"body", b""])


def test_jobs_are_counted_by_so_many_queues(monkeypatch):
    """Those of the queues that are kept are; of others beyond a limit there is a sum."""
    monkeypatch.setattr(state_counts, "MAX_QUEUES", 10)
    counted = Census()
    names = [b"%d" % n for n in range(100)]
    assert counted.take(0, [job(name) for name in names * 2], b"", 1.0, {b"77", b"99"})
    assert len(counted.active) == 12
    assert (counted.active[b"77"], counted.active[b"5"], counted.active[b"50"]) == (2, 2, 0)
    assert sum(counted.active.values()) + counted.others_active == 200


def test_nodes_that_come_and_go():
    """A queue keeps the counters of those that answer, and of some that did lately."""
    queue = QueueFigures(b"q")
    for n in range(1000):
        stats = QueueStats([b"name", b"q", b"len", 0, b"age", 9, b"idle", 0, b"blocked", 0,
                            b"import-from", [], b"import-rate", 0, b"jobs-in", n, b"jobs-out", n,
                            b"pause", b"none"])  # fmt: skip
        queue.see({f"node-{n}": stats}, float(n))
    assert len(queue._counted) == MAX_GONE_NODES + 1


async def test_a_node_that_tells_of_very_many():
    """So many of them are asked, and no more."""
    others = [(f"{n:040x}", "127.0.0.1", 1, 1) for n in range(MAX_NODES * 3)]
    with FakeNode(info=bulk(b"")) as node:
        node.others = others
        survey = Survey([node.address], counting=False)
        await survey._find()
        assert len(survey.probes) == MAX_NODES
        await survey.aclose()


async def test_a_list_of_jobs_forgets_nodes_that_are_gone(client, survey):
    """What was learnt of a node goes with it."""
    client.add_job("q", "x")
    await survey.look()
    jobs = JobList(survey, b"q", "queued")
    jobs._peeks["gone"] = jobs._peeks.get("gone")
    await jobs.look()
    assert jobs._peeks.keys() == {survey.probes[0].name}


async def test_what_browsers_watch(node):
    """The dashboard's table of queues on somebody's page is bounded while nobody is looked at."""
    watching = poller.Watch([node.address])
    watching._looked.set()
    for n in range(3 * poller.MOST_WATCHED):
        await watching.attend([b"%d" % n])
    assert list(watching._wanted)[-1] == b"%d" % (3 * poller.MOST_WATCHED - 1)
    assert len(watching._wanted) == poller.MOST_WATCHED
    await watching.survey.aclose()


async def test_a_list_that_has_no_end(client, survey):
    """Where queues are made faster than they are listed a list ends all the same."""
    for at in range(40):
        add(client, [f"{at}-{n}" for n in range(NEW)])
        await survey.look()
    assert survey.complete
