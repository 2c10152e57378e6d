"""What a survey makes of nodes that do not answer, or not as they should."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from pydisque.errors import UnreachableError
from pydisque.monitoring.jobs import JobList, find_job
from pydisque.monitoring.monitor import LONGEST_ADDRESS, NO_ADDRESS, Survey
from support.fake_node import FakeNode, array, bulk, job_info, on_wire, queue_stats

ID = b"D-0f3e2c18-000000000000000000000001-05a1"
NOTHING = array(bulk(b"0"), array())
HAVING_A_JOB = {
    "INFO": bulk(b""), "JSCAN": NOTHING, "QSCAN": array(bulk(b"0"), array(bulk(b"q"))),
    "QSTAT": on_wire(queue_stats()), "QPEEK": array(array(bulk(b"q"), bulk(ID), bulk(b"x"))),
    "SHOW": on_wire(job_info(id=ID)),
}  # fmt: skip


@pytest.fixture
def nodes() -> Iterator[list[FakeNode]]:
    """Two that know each other, by their addresses."""
    with ExitStack() as stack:
        pair = [stack.enter_context(FakeNode(**HAVING_A_JOB)) for _ in range(2)]
        for node, other in zip(pair, reversed(pair), strict=True):
            node.others = [(other.id, "127.0.0.1", other.port, 1)]
        yield pair


@pytest.fixture
async def survey(nodes: list[FakeNode]) -> AsyncIterator[Survey]:
    """Of both, after its first look."""
    survey = Survey([nodes[0].address])
    await survey.look()
    assert len(survey.asked) == 2
    yield survey
    await survey.aclose()


async def test_no_fellow_answers_in_the_place_of_a_node(nodes, survey):
    """What one node is asked reaches no other, though it may be gone and its fellows are known."""
    gone, fellow = nodes
    [probe] = [probe for probe in survey.probes if probe.figures.id == gone.id]
    gone.stop()
    for _ in range(2):
        with pytest.raises(UnreachableError):
            await probe.client.qlen("q")
    assert fellow.count("QLEN") == 0


async def test_what_cannot_be_asked_is_not_taken_for_nothing(nodes, survey):
    """While one node answers its word goes; when none does that is raised, and what was seen
    before is kept."""
    lists = [JobList(survey, b"q", state) for state in ("queued", "active")]

    async def look(*, whole: bool) -> None:
        survey.queues[b"q"].len += 1  # so that its jobs are asked for
        for jobs in lists:
            await jobs.look()
            assert jobs.complete is whole
        await survey.ask_oldest([b"q"])
        found = await find_job(survey, ID)
        assert found is not None

    def is_there() -> bool:
        return [job.id for job in lists[0].jobs] == [ID] and survey.queues[b"q"].oldest is not None

    await look(whole=True)
    assert is_there()
    nodes[0].stop()
    await look(whole=False)
    assert is_there()
    nodes[1].stop()
    survey.queues[b"q"].len += 1
    for question in (*(jobs.look() for jobs in lists), survey.ask_oldest([b"q"])):
        with pytest.raises(UnreachableError, match="no node answered"):
            await question
    with pytest.raises(UnreachableError, match="no node answered"):
        await find_job(survey, ID)
    assert is_there()


async def test_each_node_is_told_of_once(nodes, survey):
    """When no node answers, what each met is said beside its name, and in its figures alone."""
    for node in nodes:
        node.stop()
    with pytest.raises(UnreachableError, match=r"no node answered \(127\.0\.0\.1:\d+: [^()]+\)$"):
        await survey.look()
    assert not any("127.0.0.1" in node.error for node in survey.nodes)


# Nodes that were given, and that the others do not know


@pytest.mark.parametrize(
    ("host", "port"), [("", 1), ("a b", 1), ("\x1b[2J", 1), ("x" * 1000, 1), ("127.0.0.1", 0)]
)
async def test_a_node_without_an_address(nodes, host, port):
    """It is shown as one that cannot be asked, and the others are asked."""
    nodes[0].others.append(("c" * 40, host, port, 1))
    survey = Survey([nodes[0].address])
    await survey.look()
    assert len(survey.asked) == 2
    [missing] = [node for node in survey.nodes if node.id == "c" * 40]
    assert (missing.well, missing.error) == (False, NO_ADDRESS)
    assert missing.address.isprintable()
    assert len(missing.address) <= LONGEST_ADDRESS + 1
    await survey.aclose()


async def looked(*addresses: str) -> dict[str, str]:
    """What is the matter with each node, after a second look."""
    survey = Survey(addresses)
    try:
        await survey.look()
        await survey.look()
        return {node.address: node.error for node in survey.nodes}
    finally:
        await survey.aclose()


async def test_a_node_that_was_given_and_is_gone(nodes):
    """It is told of as long as it is away, though its fellows have forgotten it."""
    first, gone = nodes
    first.others = []
    gone.stop()
    errors = await looked(first.address, gone.address)
    assert errors[first.address] == ""
    assert "refused" in errors[gone.address]


async def test_a_node_of_another_system(nodes):
    """That its queues are not among those shown is told, and it is asked for nothing more."""
    first, stranger = nodes
    first.others = stranger.others = []
    errors = await looked(first.address, stranger.address)
    assert errors == {
        first.address: "",
        stranger.address: "it is of another system, whose queues are not shown",
    }
    assert stranger.count("QSCAN") == 0


async def test_a_node_given_by_two_names(nodes):
    """It is shown once, and not asked twice for ever."""
    first, other = nodes
    errors = await looked(first.address, f"localhost:{first.port}", other.address)
    assert errors == {first.address: "", other.address: ""}
    assert first.count("HELLO") <= 6
