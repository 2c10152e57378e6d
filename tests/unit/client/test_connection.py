"""One connection: what it sends, what it says of a loss, when it is no longer good."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
from time import monotonic

import hiredis
import pytest
import redis.exceptions

from pydisque.client.connection import MAX_IDLE, SLACK, Connection, Line, input_poll, redis_client
from pydisque.client.nodes import Node
from pydisque.errors import ConnectionLostError, DisqueError, error_from_reply
from pydisque.protocol.addresses import Address
from support.fake_node import FakeNode


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with theirs:
        connection = Connection(ours, hiredis.Reader(replyError=error_from_reply))
        yield connection, theirs
        connection.close()


def test_replies_in_pieces(pair):
    """Replies are put together from whatever pieces arrive, errors among them."""
    connection, theirs = pair
    theirs.sendall(b":1\r\n-PAUSED later\r\n$3\r\na")
    theirs.sendall(b"bc\r\n")
    replies: list[object] = []
    connection.exchange(b"x", replies, 3, 0.0)
    assert replies[0] == 1
    assert isinstance(replies[1], DisqueError)
    assert replies[2] == b"abc"
    assert not connection.closed


@pytest.mark.parametrize(
    ("sent", "text"), [(b"", "hung up"), (b":1\r\n:", "hung up"), (b"HTTP/1.1", "not a Disque")]
)
def test_a_loss_after_sending(pair, sent, text):
    """A connection that breaks before the last reply keeps those before, and is closed."""
    connection, theirs = pair
    theirs.sendall(sent)
    theirs.shutdown(socket.SHUT_WR)
    replies: list[object] = []
    with pytest.raises(ConnectionLostError, match=text) as caught:
        connection.exchange(b"x", replies, 2, 0.0)
    assert caught.value.sent
    assert replies == ([1] if sent.startswith(b":1\r\n") else [])
    assert connection.closed


@pytest.mark.parametrize("more", [b":2\r\n", b":2"])
def test_an_answer_too_many(pair, more):
    """What a node sends beyond its replies never answers the next command."""
    connection, theirs = pair
    theirs.sendall(b":1\r\n" + more)
    replies: list[object] = []
    connection.exchange(b"x", replies, 1, 0.0)
    assert replies == [1]
    assert connection.closed


@pytest.fixture
def hasty():
    """A connection whose own timeout is short."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.01)
    with theirs:
        connection = Connection(ours, hiredis.Reader(replyError=error_from_reply))
        yield connection, theirs
        connection.close()


def test_silence(hasty):
    """No answer in time is a loss, and the connection is closed lest the answer come late."""
    connection, _ = hasty
    with pytest.raises(ConnectionLostError, match=r"no answer within 0.01 s") as caught:
        connection.exchange(b"x", [], 1, 0.0)
    assert caught.value.sent
    assert connection.closed


@pytest.mark.parametrize("wait", [0.02, None])
def test_a_long_wait(hasty, wait):
    """A command that waits may take longer than the others, which then are as before."""
    connection, theirs = hasty
    timer = threading.Timer(0.05, theirs.sendall, [b":1\r\n"])
    timer.start()
    replies: list[object] = []
    connection.exchange(b"x", replies, 1, wait)
    timer.join()
    assert replies == [1]
    with pytest.raises(ConnectionLostError, match=r"no answer within 0.01 s"):
        connection.exchange(b"x", [], 1, 0.0)


def test_patience(pair, hasty):
    """A command that waits has its own time and some slack, one that does not the usual."""
    (slow, _), (quick, _) = pair, hasty
    assert [slow.patience(wait) for wait in (0.0, 0.5, 10.0, None)] == [5, 5, 10 + SLACK, None]
    assert [quick.patience(wait) for wait in (0.0, 0.5, None)] == [0.01, 0.5 + SLACK, None]


def test_silence_ends_a_long_wait(hasty, monkeypatch):
    """A wait with an end is a loss when it has passed."""
    connection, _ = hasty
    monkeypatch.setattr("pydisque.client.connection.SLACK", 0.01)
    with pytest.raises(ConnectionLostError, match=r"no answer within 0.03 s"):
        connection.exchange(b"x", [], 1, 0.02)


def test_a_peer_that_vanished(pair):
    """Keepalive finds a dead peer while a read without deadline waits: that is a loss too."""
    connection, _ = pair

    def time_out(_: int) -> bytes:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    connection._recv = time_out
    with pytest.raises(ConnectionLostError, match="Connection timed out"):
        connection.exchange(b"x", [], 1, None)
    assert connection.closed


def test_a_command_that_did_not_leave_whole_was_not_sent(pair):
    """A node that closed takes no command: it is certain that it was not carried out."""
    connection, theirs = pair
    theirs.close()
    with pytest.raises(ConnectionLostError) as caught:
        connection.exchange(b"x", [], 1, 0.0)
    assert not caught.value.sent


def test_a_part_of_many_may_have_been_carried_out(pair):
    """Of several commands that did not leave whole, the first may have been carried out."""
    connection, theirs = pair
    theirs.close()
    with pytest.raises(ConnectionLostError) as caught:
        connection.exchange(b"x", [], 2, 0.0)
    assert caught.value.sent


def test_an_interrupted_connection_is_closed(pair):
    """Whatever interrupts an exchange closes the connection."""
    connection, _ = pair

    def interrupt(_: int) -> bytes:
        raise KeyboardInterrupt

    connection._recv = interrupt
    with pytest.raises(KeyboardInterrupt):
        connection.exchange(b"x", [], 1, 0.0)
    assert connection.closed


def test_stale(pair):
    """A connection the node closed, or on which it said something unasked, is stale."""
    connection, theirs = pair
    assert not connection.is_stale()
    theirs.close()
    assert connection.is_stale()


@pytest.mark.parametrize("system", ["poll", "select"])
def test_input_poll_works_without_select_poll(monkeypatch, system):
    """eventlet's monkey patching removes it."""
    if system == "select":
        monkeypatch.delattr(select, "poll")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poll = input_poll(ours)
        begun = monotonic()
        assert not poll(0)
        assert not poll(50)
        assert 0.04 <= monotonic() - begun < 5
        theirs.sendall(b"x")
        assert poll(0)
        assert poll(None)


def line_with(count: int) -> tuple[Line, list[socket.socket]]:
    line = Line(Node(Address("localhost")), redis_client(Address("localhost"), {}))
    ends = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        line.give_back(Connection(ours, hiredis.Reader()))
        ends.append(theirs)
    return line, ends


def test_idle_connections_are_a_stack():
    """The connection used last is used next, and stale ones are passed over."""
    line, ends = line_with(3)
    ends[2].close()
    second = line.idle(monotonic())
    first = line.idle(monotonic())
    assert line.idle(monotonic()) is None
    line.give_back(first)
    line.give_back(second)
    assert line.idle(monotonic()) is second
    line.close_idle()
    second.close()
    for end in ends:
        end.close()


def test_a_node_that_hung_up_is_noticed_before_anything_is_sent():
    """An idle connection is looked at again, unless it was used within the last millisecond."""
    line, [end] = line_with(1)
    first_used = 1000.0
    connection = line.idle(first_used)
    line.give_back(connection)
    end.close()
    assert line.idle(first_used + 0.0005) is connection
    line.give_back(connection)
    assert line.idle(first_used + 1) is None
    assert connection.closed


def test_a_connection_nobody_holds_is_closed():
    """A connection lost to an interruption is closed, although its line closes all on `close`."""
    with FakeNode() as node:
        client = redis_client(Address("127.0.0.1", node.port), {})
        line = Line(Node(Address("127.0.0.1", node.port)), client)
        connection, _ = line.open()
        sock = connection._sock
        del connection
        assert sock.fileno() == -1
        client.close()


def test_idle_connections_are_bounded():
    """No more than a certain number of idle connections is kept."""
    line, ends = line_with(MAX_IDLE + 3)
    kept = 0
    while (connection := line.idle(monotonic())) is not None:
        connection.close()
        kept += 1
    assert kept == MAX_IDLE
    for end in ends:
        end.close()


def test_a_closed_connection_is_not_kept(pair):
    """A connection that broke is not given to the next command."""
    connection, _ = pair
    line = Line(Node(Address("localhost")), redis_client(Address("localhost"), {}))
    connection.close()
    line.give_back(connection)
    assert line.idle(monotonic()) is None


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300])
def test_a_host_that_is_none(host):
    """A name that cannot be resolved is a node that cannot be reached."""
    line = Line(Node(Address(host)), redis_client(Address(host), {"socket_timeout": 5}))
    with contextlib.closing(line.redis), pytest.raises(redis.exceptions.ConnectionError):
        line.open()


def test_options_reach_redis():
    """TLS, passwords and the like are redis-py's own options; its retries are off."""
    address = Address("h", 1, tls=True, username="u", password="p")
    options = {"ssl_cert_reqs": "none", "retry_on_timeout": True, "socket_timeout": 3}
    client = redis_client(address, options)
    kwargs = client.connection_pool.connection_kwargs
    assert kwargs["ssl_cert_reqs"] == "none"
    assert (kwargs["username"], kwargs["password"], kwargs["protocol"]) == ("u", "p", 2)
    assert kwargs["socket_keepalive"] is True
    assert kwargs["retry"]._retries == 0
    assert client.connection_pool.connection_class.__name__ == "SSLConnection"
