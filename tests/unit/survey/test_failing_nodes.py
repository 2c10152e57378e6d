"""What a survey makes of nodes that do not answer, or not as they should."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from fake_node import FakeNode, array, bulk
from pydisque.errors import UnreachableError
from pydisque.survey import Survey

NOTHING = array(bulk(b"0"), array())
ANSWERS = {"INFO": bulk(b""), "QSCAN": NOTHING, "JSCAN": NOTHING}


@pytest.fixture
def nodes() -> Iterator[list[FakeNode]]:
    """Two that know each other, by their addresses."""
    with ExitStack() as stack:
        pair = [stack.enter_context(FakeNode(**ANSWERS)) for _ in range(2)]
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
