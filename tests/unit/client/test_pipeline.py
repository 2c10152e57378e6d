"""Many commands at once, and what becomes of each when some fail."""

from __future__ import annotations

import pytest
import redis.exceptions

from pydisque import Client, ConnectionLostError, MaxLenError, PausedError
from pydisque.client.base_transport import PIECE_COMMANDS
from support.blocking_client import LoopedClient
from support.fake_node import HANG_UP, FakeNode

PAUSED = b"-PAUSED Queue paused in input, try later\r\n"


@pytest.fixture(autouse=True, params=[Client, LoopedClient])
def each_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for both clients."""
    monkeypatch.setitem(globals(), "Client", request.param)


@pytest.fixture
def node():
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node):
    with Client(node.address, backoff=(0.001, 0.01), deadline=5.0) as client:
        yield client


def test_results_in_order(node, client):
    """A pipeline sends at its execute(), returns the results in order, and is empty again."""
    with client.pipeline() as pipeline:
        pipeline.add_job("q", "b").qlen("q").execute_command("PING")
        pipeline.get_job(["q"], nohang=True)
        assert len(pipeline) == 4
        assert node.received == []
        job_id, *rest = pipeline.execute()
        assert job_id.startswith(b"D-")
        assert rest == [0, True, []]
        assert pipeline.execute() == []


def test_leaving_the_block_drops_what_was_not_sent(node, client):
    """What was queued and not executed is dropped."""
    with client.pipeline() as pipeline:
        pipeline.qlen("q")
    assert pipeline.execute() == []
    assert node.received == []


def test_errors_are_raised_or_in_place(node, client):
    """The first error is raised when all is done, or each stands in its place."""
    node.answers["ADDJOB"] = PAUSED
    with client.pipeline() as pipeline:
        with pytest.raises(PausedError):
            pipeline.qlen("q").add_job("q", "b").qlen("q").execute()
        assert node.count("QLEN") == 2
        length, error, _ = pipeline.qlen("q").add_job("q", "b").qlen("q").execute(False)
        assert length == 0
        assert isinstance(error, PausedError)


def test_bad_arguments_are_refused_when_queued(node, client):
    """A bad argument is refused by the method, not by execute()."""
    with client.pipeline() as pipeline, pytest.raises(ValueError, match="ttl"):
        pipeline.add_job("q", "b", ttl=0)


def test_add_jobs(node, client):
    """add_jobs returns an ID for each body, however many."""
    many = 3 * PIECE_COMMANDS + 1
    found = client.add_jobs("q", map(str, range(many)), ttl=60)
    assert len(set(found)) == many
    bodies = [command[2] for command in node.received if command[0] == b"ADDJOB"]
    assert bodies == [b"%d" % number for number in range(many)]
    assert client.add_jobs("q", []) == []


def test_add_jobs_gives_each_error_in_place(node, client):
    """A job that was refused has its error in its place, the others their IDs."""

    def limited(_queue, body, *_):
        return b"-MAXLEN Queue is already longer\r\n" if body == b"2" else b"+id\r\n"

    node.answers["ADDJOB"] = limited
    first, second, third = client.add_jobs("q", ["1", "2", "3"])
    assert (first, third) == (b"id", b"id")
    assert isinstance(second, MaxLenError)


def test_a_bad_body_adds_nothing(node, client):
    """When one body cannot be sent none is."""
    with pytest.raises(TypeError, match="job must be"):
        client.add_jobs("q", ["1", None])
    assert node.received == []


def dying_at(body):
    return lambda _queue, sent, *_: HANG_UP if sent == body else b"+id-" + sent + b"\r\n"


def test_what_was_answered_is_kept(node):
    """A node dies in the middle: answered jobs stay, the others go to the next node, once."""
    with FakeNode() as second, Client([node.address, second.address]) as client:
        node.answers["ADDJOB"] = dying_at(b"3")
        found = client.add_jobs("q", ["1", "2", "3", "4"])
        assert found[:2] == [b"id-1", b"id-2"]
        assert all(job_id.startswith(b"D-" + second.id[:8].encode()) for job_id in found[2:])
        assert [c[2] for c in second.received if c[0] == b"ADDJOB"] == [b"3", b"4"]


def test_what_may_not_be_sent_again_fails_alone(node):
    """With resend_add=False the unanswered jobs fail; those that had not left yet are added."""
    many = PIECE_COMMANDS + 10
    node.answers["ADDJOB"] = dying_at(b"3")
    with Client(node.address, resend_add=False, backoff=(0.001, 0.01)) as client:
        found = client.add_jobs("q", map(str, range(many)))
    assert found[:3] == [b"id-0", b"id-1", b"id-2"]
    assert all(isinstance(error, ConnectionLostError) for error in found[3:PIECE_COMMANDS])
    assert found[PIECE_COMMANDS:] == [b"id-%d" % n for n in range(PIECE_COMMANDS, many)]
    assert len([c for c in node.received if c[:3] == (b"ADDJOB", b"q", b"3")]) == 1


def test_no_node_at_all(node, client):
    """When no node answers each command has a ConnectionError."""
    node.stop()
    with Client(node.address, deadline=0.0) as client:
        for error in client.add_jobs("q", ["1", "2"]):
            assert isinstance(error, redis.exceptions.ConnectionError)
        with pytest.raises(redis.exceptions.ConnectionError):
            client.pipeline().qlen("q").execute()


def test_a_large_job_goes_alone(node, client):
    """A job larger than a piece is sent all the same."""
    found = client.add_jobs("q", ["1", "x" * 200_000, "3"])
    assert len(found) == 3
    assert len(node.received[2][2]) == 200_000
