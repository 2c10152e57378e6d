"""How much a survey has nodes send of bodies, which can be anything up to gigabytes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from pydisque import Client
from pydisque.monitoring.jobs import JobList
from pydisque.monitoring.monitor import Survey
from pydisque.node import Server

HEAVY = b"x" * 1_000_000
LOOKING = 20_000
"""Bytes that a look may bring for itself."""


@pytest.fixture
async def survey(node: Server) -> AsyncIterator[Survey]:
    survey = Survey([node.address], counting=False)
    yield survey
    await survey.aclose()


def sent(client: Client) -> int:
    """Bytes that the node sent so far."""
    return int(client.info()["total_net_output_bytes"])


async def test_a_queue_that_does_not_change_is_not_asked_for_again(client, survey):
    """Its jobs, and the age of the oldest, are known already; only their time goes on."""
    client.add_jobs("q", [HEAVY] * 3)
    jobs, oldest = JobList(survey, b"q", "queued"), []
    for at in range(3):
        before = sent(client)
        await survey.look()
        await survey.ask_oldest([b"q"])
        await jobs.look(3)
        assert [job.body for job in jobs.jobs] == [HEAVY] * 3
        assert at == 0 or sent(client) - before < LOOKING
        oldest.append(survey.queues[b"q"].oldest)
    assert oldest == sorted(set(oldest))


async def test_of_heavy_jobs_only_those_needed_are_asked_for(client, survey):
    """Of light ones there are more, so that one can go on to them at once."""
    client.add_jobs("heavy", [HEAVY] * 10)
    client.add_jobs("light", ["x"] * 10)
    await survey.look()
    light, heavy = (JobList(survey, name, "queued") for name in (b"light", b"heavy"))
    await light.look(2)
    assert len(light.jobs) == 10
    for needed in (2, 4):
        before = sent(client)
        await heavy.look(needed)
        assert len(heavy.jobs) == needed
        assert sent(client) - before < 2 * needed * len(HEAVY) + LOOKING


async def test_the_time_of_queued_jobs_goes_on(client, survey, monkeypatch):
    """Though they are not asked for: their TTL, and the time until they are queued again; once that
    is over they are asked for."""
    client.add_job("q", "x", ttl=1000, retry=100)
    await survey.look()
    jobs = JobList(survey, b"q", "queued")
    await jobs.look()
    [before] = jobs.jobs
    for passed in (50, 0):  # 0: a thousand seconds later they were asked for anew
        now = time.monotonic() + (passed or 1000)
        monkeypatch.setattr(
            "pydisque.monitoring.jobs.time", SimpleNamespace(monotonic=lambda now=now: now)
        )
        await jobs.look()
        [job] = jobs.jobs
        assert before.ttl - job.ttl == pytest.approx(passed, abs=2)
        assert before.next_requeue_within - job.next_requeue_within == pytest.approx(
            passed * 1000, abs=2000
        )
