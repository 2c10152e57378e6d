"""What Prometheus is told of a system that a survey looks at, a real Disque's among them."""

from __future__ import annotations

import pytest

from pydisque import Client
from pydisque.monitoring.metrics import SurveyMetrics
from pydisque.monitoring.monitor import Survey
from pydisque.node import Server
from support.prometheus import complaints, values
from support.servers import ask, unique

from .conftest import kinds


def told(metrics: SurveyMetrics) -> dict[str, float]:
    return values(metrics.exposition()[0].decode())


@kinds
async def test_queues_nodes_and_sums(server, client, survey):
    """Each node and each queue is told of once, with what it says of itself; by the conventions."""
    queue = unique("q")
    client.add_jobs(queue, ["x"] * 5)
    client.get_job([queue], count=2)
    client.pause(queue, kw_in=True)
    metrics = SurveyMetrics(survey)
    await survey.look()
    while not survey.complete or survey.queues[queue.encode()].active is None:
        await survey.look()
    text = metrics.exposition()[0].decode()
    found = values(text)
    of_queue = f'{{queue="{queue}"}}'
    assert not complaints(text)
    assert found[f"pydisque_queue_length{of_queue}"] == 3
    assert found[f"pydisque_queue_jobs_in_total{of_queue}"] == 5
    assert found[f"pydisque_queue_jobs_out_total{of_queue}"] == 2
    assert found[f"pydisque_queue_active_jobs{of_queue}"] == 2
    assert found[f'pydisque_queue_paused{{direction="in",queue="{queue}"}}'] == 1
    up = [value for name, value in found.items() if name.startswith("pydisque_node_up{")]
    assert up == [1] * len(server.addresses)
    holders = sum(name.startswith("pydisque_node_jobs{") for name in found)
    assert holders == (1 if "valkey" in server.kind else len(server.addresses))
    assert found["pydisque_queues"] == len(survey.queues)
    client.pause(queue, kw_none=True)


@kinds
async def test_sums_grow_by_what_happens(client, survey):
    """What came before the survey began is not in the sums; all that comes then is, once."""
    client.execute_command("DEBUG", "FLUSHALL")  # so that no job of another test comes back
    queue, later = unique("q"), unique("later")
    client.add_jobs(queue, ["x"] * 5)
    metrics = SurveyMetrics(survey)
    while not survey.complete:
        await survey.look()
    before = told(metrics)
    assert before["pydisque_jobs_in_total"] == 0
    survey._began -= 10  # what is made from now on is younger than that, by whole seconds too
    client.add_jobs(queue, ["x"] * 3)
    client.add_jobs(later, ["x"] * 4)
    client.get_job([queue], count=6)
    await survey.look()
    await survey.look()
    after = told(metrics)
    assert after["pydisque_jobs_in_total"] == 7
    assert after["pydisque_jobs_out_total"] == 6
    assert after["pydisque_queued_jobs"] - before["pydisque_queued_jobs"] == 1


async def test_before_the_first_look():
    """There is something to read already, which says that nothing is known."""
    found = told(SurveyMetrics(Survey(["127.0.0.1:1"])))
    assert found["pydisque_survey_last_look_timestamp_seconds"] == 0
    assert found["pydisque_survey_complete"] == 0
    assert not [name for name in found if name.startswith("pydisque_queue")]


async def test_a_node_that_is_gone():
    """It is down, and of what it said before nothing is told as if it were so now."""
    with Server() as node:
        survey = Survey([node.address])
        metrics = SurveyMetrics(survey)
        await survey.look()
        assert told(metrics)[f'pydisque_node_up{{node="{node.address}"}}'] == 1
    with pytest.raises(Exception, match="refused"):
        await survey.look()
    found = told(metrics)
    assert found[f'pydisque_node_up{{node="{node.address}"}}'] == 0
    assert not [name for name in found if name.startswith("pydisque_node_uptime")]
    await survey.aclose()


MANY = 100_000


def fill(address: str, prefix: str) -> None:
    with Client(address) as client:
        for start in range(0, MANY, 10_000):
            with client.pipeline() as pipeline:
                for i in range(start, start + 10_000):
                    pipeline.add_job(f"{prefix}-{i}", "x")
                pipeline.execute()


@pytest.mark.parametrize("server", ["memory", "disque"], indirect=True)
async def test_a_hundred_thousand_queues(server, client):
    """A scrape asks nothing; a look asks for some thousand queues, those that are told of each
    time, and in the end all are counted."""
    [address] = server.addresses
    fill(address, unique("many"))
    survey = Survey([address], counting=False)
    survey._budget = 20_000  # in fewer looks
    metrics = SurveyMetrics(survey, queues=50)
    long = unique("long")
    client.add_jobs(long, ["x"] * 1000)
    while not survey.complete:
        await survey.look()
    found = told(metrics)
    survey._budget = 1000
    assert found["pydisque_queues"] >= MANY
    assert found[f'pydisque_queue_length{{queue="{long}"}}'] == 1000
    lengths = [name for name in found if name.startswith("pydisque_queue_length")]
    assert len(lengths) == 50
    before = commands(address)
    for _ in range(10):
        metrics.exposition()
    assert commands(address) - before == 1  # this question itself
    client.get_job([long], count=10)
    before = commands(address)
    await survey.look()
    assert commands(address) - before < 1000 + 300 + 50 + 100
    after = told(metrics)
    assert after[f'pydisque_queue_length{{queue="{long}"}}'] == 990
    assert [name for name in after if name.startswith("pydisque_queue_length")] == lengths
    await survey.aclose()
    ask(address, "DEBUG", "FLUSHALL")


def commands(address: str) -> int:
    info = ask(address, "INFO", "stats").decode()
    return int(info.partition("total_commands_processed:")[2].split()[0])
