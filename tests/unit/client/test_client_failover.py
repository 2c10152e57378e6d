"""What becomes of a command when nodes fail, each case with nodes that fail on purpose."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from time import monotonic

import pytest
import redis.exceptions

from pydisque import (
    Client,
    ConnectionLostError,
    LeavingError,
    LoadingError,
    NoAuthError,
    PausedError,
    UnreachableError,
)
from pydisque.client.connection import SLACK
from support.blocking_client import LoopedClient
from support.fake_node import HANG_UP, SILENCE, FakeNode, array, bulk
from support.servers import until

LEAVING = b"-LEAVING This node is leaving the cluster, please connect to a different one\r\n"
LOADING = b"-LOADING Disque is loading the dataset in memory\r\n"


@pytest.fixture(autouse=True, params=[Client, LoopedClient])
def each_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for both clients."""
    monkeypatch.setitem(globals(), "Client", request.param)


@pytest.fixture
def two() -> Iterator[tuple[FakeNode, FakeNode]]:
    with FakeNode() as first, FakeNode() as second:
        yield first, second


def client_of(*nodes: FakeNode, **options: object) -> Client:
    defaults: dict[str, object] = {"deadline": 5.0, "backoff": (0.001, 0.01), "socket_timeout": 5.0}
    return Client([node.address for node in nodes], **(defaults | options))


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"127.0.0.1:{sock.getsockname()[1]}"


# Connecting


FULL = b"-ERR max number of clients reached\r\n"


def test_a_node_that_is_full_cannot_be_reached(two):
    """connect() and commands say the same of a node that takes no more clients, and go on."""
    first, second = two
    first.answers["HELLO"] = FULL
    with client_of(first, deadline=0.0) as client:
        texts = set()
        for call in (client.connect, client.ping, lambda: client.get_job(["q"])):
            with pytest.raises(UnreachableError, match="max number of clients reached") as caught:
                call()
            texts.add(str(caught.value))
        assert len(texts) == 1
    with client_of(first, second) as client:
        assert client.ping() is True
        assert client.connected_node.port == second.port


def test_a_full_node_is_used_once_it_has_room(two):
    """A command tries a full node again until its deadline."""
    replies = iter([FULL, FULL])
    two[0].answers["HELLO"] = lambda: next(replies, None)
    with client_of(two[0]) as client:
        assert client.ping() is True


def test_connect_stops_at_the_first_node_that_answers(two):
    """connect() uses the first node given and leaves the others alone."""
    with client_of(*two) as client:
        client.connect()
        assert client.connected_node.port == two[0].port
        assert two[1].connections == 0


def test_connect_goes_on_to_the_next_node(two):
    """A first node that is down is passed over."""
    with client_of(*two) as client:
        two[0].stop()
        client.connect()
        assert client.connected_node.node_id == two[1].id.encode()


def test_connect_names_every_node_and_its_reason():
    """No node at all: one round, then an error that tells who was tried and why not."""
    down = closed_port()
    with FakeNode(HELLO=b"-NOAUTH Authentication required.\r\n") as strict:
        client = Client([down, strict.address])
        with pytest.raises(redis.exceptions.ConnectionError) as caught:
            client.connect()
        assert down in str(caught.value)
        assert "refused" in str(caught.value)
        assert f"{strict.address}: NOAUTH" in str(caught.value)
        assert client.connected_node is None
        with pytest.raises(redis.exceptions.ConnectionError, match="not connected"):
            client.get_connection()


def test_commands_connect_by_themselves(two):
    """A command needs no connect() before it."""
    with client_of(*two) as client:
        assert client.qlen("q") == 0
        assert client.connected_node.port == two[0].port


def test_something_that_is_no_node_is_passed_over(two):
    """A port that speaks another protocol, or Redis, is a node that does not answer."""
    with (
        FakeNode(HELLO=b"HTTP/1.1 400 Bad Request\r\n\r\n") as web,
        FakeNode(HELLO=array(bulk(b"server"), bulk(b"redis"), bulk(b"version"))) as other,
        client_of(web, other, two[0]) as client,
    ):
        client.connect()
        assert client.connected_node.port == two[0].port


def test_nodes_learnt_are_tried_after_those_given(two):
    """HELLO tells of a node that was not given; it serves when those given are gone."""
    first, second = two
    first.others = [(second.id, "127.0.0.1", second.port, 1)]
    with client_of(first) as client:
        client.connect()
        first.stop()
        assert client.qlen("q") == 0
        assert client.connected_node.port == second.port


def test_a_node_that_came_back_is_used_again(two):
    """All nodes go down and come back: the command that had to wait succeeds."""
    first, second = two
    with client_of(first, second, deadline=20.0) as client:
        client.connect()
        first.stop()
        second.stop()
        timer = threading.Timer(0.1, first.start)
        timer.start()
        assert client.add_job("q", "body").startswith(b"D-")
        timer.join()
        assert client.connected_node.port == first.port


def test_the_deadline_ends_the_tries():
    """With every node down a command gives up at its deadline."""
    with (
        Client([closed_port()], deadline=0.05, backoff=(0.01, 0.01)) as client,
        pytest.raises(UnreachableError),
    ):
        client.qlen("q")


def test_a_wrong_password_is_not_tried_again():
    """Where every node refuses the password there is nothing to wait for."""
    refusal = b"-NOAUTH Authentication required.\r\n"
    with FakeNode(HELLO=refusal) as node, client_of(node, deadline=60.0) as client:
        with pytest.raises(NoAuthError):
            client.qlen("q")
        assert node.connections == 1


def test_a_changed_node_is_logged_once(two, caplog):
    """The log tells of a node lost and a node found, and never of what was sent."""
    with caplog.at_level(logging.INFO, "pydisque"), client_of(*two) as client:
        client.add_job("q", "secret body")
        two[0].stop()
        client.add_job("q", "secret body")
        client.add_job("q", "secret body")
    text = [record.getMessage() for record in caplog.records]
    assert [line for line in text if "using" in line] == [
        f"using node {node.address}" for node in two
    ]
    assert len([line for line in text if two[0].address in line and "using" not in line]) == 1
    assert "secret" not in caplog.text


# After the bytes may have left


def test_a_job_goes_once_to_each_node_tried(two):
    """Nodes that hang up after reading ADDJOB get it once each, then the caller is told."""
    first, second = two
    first.answers["ADDJOB"] = second.answers["ADDJOB"] = HANG_UP
    with client_of(*two) as client:
        with pytest.raises(redis.exceptions.ConnectionError, match="may have been carried out"):
            client.add_job("q", "body")
        assert [node.count("ADDJOB") for node in two] == [1, 1]


def test_a_job_is_sent_to_the_next_node(two):
    """A node hangs up after reading ADDJOB; the next one adds the job."""
    first, second = two
    first.answers["ADDJOB"] = HANG_UP
    with client_of(*two) as client:
        assert client.add_job("q", "body")[2:10].decode() == second.id[:8]
        assert [node.count("ADDJOB") for node in two] == [1, 1]


def test_one_node_given_twice_gets_a_job_once():
    """Two addresses of one node are one node: it says so in HELLO."""
    with FakeNode(ADDJOB=HANG_UP) as node:
        nodes = [node.address, f"localhost:{node.port}"]
        with Client(nodes, deadline=5.0, backoff=(0.001, 0.01)) as client:
            with pytest.raises(UnreachableError):
                client.add_job("q", "body")
            assert node.count("ADDJOB") == 1


def test_resend_add_false_raises_instead(two):
    """With resend_add=False a lost ADDJOB is the caller's to decide on."""
    two[0].answers["ADDJOB"] = HANG_UP
    with client_of(*two, resend_add=False) as client:
        with pytest.raises(ConnectionLostError, match="ADDJOB may have been carried out"):
            client.add_job("q", "body")
        assert [node.count("ADDJOB") for node in two] == [1, 0]
        assert client.add_job("q", "body")[2:10].decode() == two[1].id[:8]


def test_harmless_commands_are_sent_again(two):
    """ACKJOB and reads go to the next node when the connection breaks."""
    two[0].answers |= {"ACKJOB": HANG_UP, "QLEN": HANG_UP}
    with client_of(*two) as client:
        assert client.ack_job("D-" + "0" * 38) == 1
        assert [node.count("ACKJOB") for node in two] == [1, 1]


def test_unknown_commands_are_never_sent_again(two):
    """A command the client does not know is sent once, whatever happens."""
    two[0].answers["SHUTDOWN"] = HANG_UP
    with client_of(*two) as client:
        with pytest.raises(ConnectionLostError, match="SHUTDOWN"):
            client.execute_command("SHUTDOWN")
        assert [node.count("SHUTDOWN") for node in two] == [1, 0]


def test_a_node_that_never_answers_is_left(two):
    """Silence is a broken connection: after socket_timeout the next node is asked."""
    two[0].answers["ADDJOB"] = SILENCE
    with client_of(*two, socket_timeout=0.2) as client:
        client.connect()
        assert client.add_job("q", "body", timeout=1, ttl=5)[2:10].decode() == two[1].id[:8]
        assert two[0].count("ADDJOB") == 1


def test_a_killed_idle_connection_is_no_doubt(two):
    """A node restarted between commands gets the next one: its bytes never left before."""
    first, second = two
    with client_of(*two, resend_add=False) as client:
        client.add_job("q", "body")
        first.stop()
        first.start()
        assert client.add_job("q", "body")[2:10].decode() == first.id[:8]
        assert second.connections == 0


@pytest.mark.parametrize("reply", [b"-PAUSED Queue paused in input, try later\r\n"])
def test_error_replies_are_never_sent_again(two, reply):
    """An error reply is an answer: it is raised at once, and no other node is asked."""
    two[0].answers["ADDJOB"] = reply
    with client_of(*two) as client:
        with pytest.raises(PausedError):
            client.add_job("q", "body")
        assert [node.count("ADDJOB") for node in two] == [1, 0]


# Leaving and loading


def test_a_leaving_node_is_left(two):
    """-LEAVING moves to another node, and stays there."""
    two[0].answers |= {"ADDJOB": LEAVING, "GETJOB": LEAVING}
    with client_of(*two) as client:
        client.add_job("q", "body")
        client.add_job("q", "body")
        assert [node.count("ADDJOB") for node in two] == [1, 2]


def test_all_nodes_leaving_is_said_so(two):
    """When every node is leaving the typed error is raised, without waiting for the deadline."""
    for node in two:
        node.answers["GETJOB"] = LEAVING
    with client_of(*two, deadline=60.0) as client:
        with pytest.raises(LeavingError):
            client.get_job(["q"])
        assert [node.count("GETJOB") for node in two] == [1, 1]


def test_connect_prefers_a_node_that_stays(two):
    """A node whose own HELLO says it is leaving is used only when there is no other."""
    two[0].priority = 100
    with client_of(*two) as client:
        client.connect()
        assert client.connected_node.port == two[1].port
        two[1].stop()
        assert client.qlen("q") == 0
        assert client.connected_node.port == two[0].port


def test_a_node_that_begins_to_leave_is_left(two):
    """A node in use whose connection broke, and which now says it is leaving, gives way."""
    with client_of(*two) as client:
        client.connect()
        two[0].priority = 100
        two[0].hang_up()
        assert client.pipeline().qlen("q").execute() == [0]
        assert client.connected_node.port == two[1].port


def test_a_loading_node_is_waited_for():
    """A node that is reading its journal is asked again until it is ready."""
    replies = iter([LOADING, LOADING])
    with FakeNode(HELLO=lambda: next(replies, None)) as node, client_of(node) as client:
        assert client.qlen("q") == 0
        assert node.connections == 3


def test_loading_for_too_long_is_said_so():
    """At the deadline the node's own answer is the error."""
    with FakeNode(HELLO=LOADING) as node, client_of(node, deadline=0.05) as client:
        with pytest.raises(LoadingError):
            client.qlen("q")
        with pytest.raises(redis.exceptions.ConnectionError, match="loading"):
            client.connect()


# Blocking reads


def test_a_blocked_get_job_survives_a_restart():
    """get_job without timeout goes on for ever once it was sent, far beyond the deadline."""
    job = array(array(bulk(b"q"), bulk(b"D-" + b"0" * 38), bulk(b"body")))
    with FakeNode(GETJOB=SILENCE) as node, client_of(node, deadline=0.01) as client:

        def restart() -> None:
            node.wait_for("GETJOB")
            node.stop()
            threading.Event().wait(0.2)
            node.answers["GETJOB"] = job
            node.start()

        thread = threading.Thread(target=restart)
        thread.start()
        assert client.get_job(["q"]) == [(b"q", b"D-" + b"0" * 38, b"body")]
        thread.join()


def test_a_blocked_get_job_asks_for_the_rest_of_its_time(two):
    """A get_job with timeout whose node is lost waits on the next one only for what is left."""
    first, second = two
    first.answers["GETJOB"] = SILENCE
    with client_of(*two) as client:
        client.connect()
        killer = threading.Thread(target=lambda: (first.wait_for("GETJOB"), first.stop()))
        killer.start()
        assert client.get_job(["q"], timeout=60_000) == []
        killer.join()
    asked = [int(command[2]) for command in second.received if command[0] == b"GETJOB"]
    assert len(asked) == 1
    assert 0 < asked[0] < 60_000


def test_get_job_waits_longer_than_the_socket_timeout():
    """A blocking read has its own deadline: the socket's would cut it short."""

    def late(*_: bytes) -> bytes:
        threading.Event().wait(0.3)
        return b"*-1\r\n"

    with FakeNode(GETJOB=late) as node, client_of(node, socket_timeout=0.1) as client:
        assert client.get_job(["q"], timeout=250) == []
        assert node.count("GETJOB") == 1


def test_a_command_that_does_not_wait_has_the_socket_timeout(two):
    """A node's silence on a plain command is noticed after socket_timeout, however short it is."""
    two[0].answers["QLEN"] = SILENCE
    with client_of(*two, socket_timeout=0.1) as client:
        started = monotonic()
        assert client.qlen("q") == 0
        assert monotonic() - started < SLACK
        assert client.connected_node.port == two[1].port


# Following


def test_following_moves_to_where_jobs_are_made(two):
    """With follow_jobs the client moves to the node whose jobs it receives."""
    first, second = two
    first.others = [(second.id, "127.0.0.1", second.port, 1)]
    second.others = [(first.id, "127.0.0.1", first.port, 1)]

    def job(*_: bytes) -> bytes:
        return array(*[array(bulk(b"q"), bulk(second.new_id()), bulk(b"x"))] * 25)

    first.answers["GETJOB"] = job
    with client_of(first, follow_jobs=True) as client:
        for _ in range(4):
            assert len(client.get_job(["q"], count=25)) == 25
        until(lambda: client.connected_node.port == second.port)
