"""What a survey says of itself while it looks."""

from __future__ import annotations

import asyncio

from pydisque import Client
from pydisque.monitoring.monitor import Survey
from pydisque.node import Server


async def test_a_survey_is_complete_once_every_queue_was_asked_for(monkeypatch):
    """And no sooner: while some are only known by name, it is not."""
    monkeypatch.setattr("pydisque.monitoring.monitor.PAGE", 2)
    with Server() as node, Client(node.address) as client:
        for at in range(10):
            client.add_job(f"q{at}", "x")
        survey = Survey([node.address])
        look = asyncio.create_task(survey.look())
        while not look.done():
            assert not survey.complete or len(survey.queues) == 10
            await asyncio.sleep(0)
        assert survey.complete
        await survey.aclose()
