"""Where a command goes when nodes fail, decided without a socket or a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.client.failover import Call, Journey, Patience
from pydisque.client.nodes import Node, Nodes
from pydisque.errors import (
    ConnectionLostError,
    LeavingError,
    LoadingError,
    NoAuthError,
    UnreachableError,
)
from pydisque.protocol import commands
from pydisque.protocol.addresses import parse_addresses
from pydisque.protocol.command import Command, Resend, raw

PATIENCE = Patience(10.0, (0.1, 1.0))
ADD = commands.add_job("q", "b")
READ = commands.qlen("q")
WAIT = commands.get_job(["q"])
UNKNOWN = raw(("SHUTDOWN",), repr)


def journey_of(*batch: Command, nodes: int = 2) -> tuple[Journey, list[Call], list[Node]]:
    known = Nodes(parse_addresses([f"n:{i + 1}" for i in range(nodes)]))
    for at, node in enumerate(known):
        node.id = f"{at}" * 40
    calls = [Call(command) for command in batch]
    return Journey(known, calls, PATIENCE, started=0.0), calls, list(known)


def lost() -> ConnectionLostError:
    return ConnectionLostError("hung up", sent=True)


def down(journey: Journey, node: Node) -> None:
    journey.failed(node, ConnectionLostError("refused", sent=False))


def test_a_round_visits_each_node_once_then_pauses():
    """Nodes are visited in order; after a round comes a pause, and a longer one after the next."""
    journey, _, (a, b) = journey_of(READ)
    pauses = []
    for _ in range(5):
        for node in (a, b):
            assert journey.step(0.0, 1.0) is node
            down(journey, node)
        pauses.append(journey.step(0.0, 1.0))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0]


def test_pauses_are_jittered():
    """A pause is between half of itself and the whole, so that clients do not come in step."""
    assert PATIENCE.pause(1, 0.0) == 0.05
    assert PATIENCE.pause(1, 1.0) == 0.1
    assert PATIENCE.pause(10_000, 1.0) == 1.0


def test_the_deadline_is_looked_at_between_rounds():
    """Every node is tried once, however late it is; then the deadline ends the journey."""
    journey, (call,), (a, b) = journey_of(READ)
    assert journey.step(99.0, 0.0) is a
    down(journey, a)
    assert journey.step(99.0, 0.0) is b
    down(journey, b)
    assert journey.step(99.0, 0.0) is None
    with pytest.raises(UnreachableError, match=r"n:1: refused; n:2: refused"):
        call.result()


def test_nodes_learnt_on_the_way_are_visited_in_the_same_round():
    """What HELLO tells in the middle of a round is tried before any pause."""
    known = Nodes(parse_addresses("n:1"))
    (a,) = known
    journey = Journey(known, [Call(READ)], PATIENCE, 0.0)
    assert journey.step(0.0, 0.0) is a
    known.learn(a, [1, b"0" * 40, [b"1" * 40, b"10.0.0.2", b"2", b"1"]])
    down(journey, a)
    assert str(journey.step(0.0, 0.0).address) == "10.0.0.2:2"


def test_the_node_in_use_comes_first():
    """A journey begins where the client is."""
    known = Nodes(parse_addresses("n:1,n:2"))
    a, b = known
    journey = Journey(known, [Call(READ)], PATIENCE, 0.0, here=b)
    assert journey.step(0.0, 0.0) is b
    down(journey, b)
    assert journey.step(0.0, 0.0) is a


@pytest.mark.parametrize("command", [READ, commands.ack_job(), WAIT])
def test_harmless_commands_go_on(command):
    """A harmless command whose connection broke may go to any node again, the same one too."""
    journey, (call,), (a, b) = journey_of(command)
    for node in (a, b):
        assert journey.step(0.0, 0.0) is node
        journey.broke(node, [call], lost())
    assert isinstance(journey.step(0.0, 0.0), float)
    assert journey.step(0.0, 0.0) is a


def test_unknown_commands_end():
    """A command nobody knows ends with the first loss."""
    journey, (call,), (a, _) = journey_of(UNKNOWN)
    journey.broke(a, [call], lost())
    assert journey.step(0.0, 0.0) is None
    with pytest.raises(ConnectionLostError, match=r"n:1: hung up; SHUTDOWN may have been"):
        call.result()


def test_a_lost_add_ends_when_no_node_is_left():
    """ADDJOB goes once to each node; with none left the caller is told, and of the doubt."""
    journey, (call,), nodes = journey_of(ADD)
    for node in nodes:
        assert journey.step(0.0, 0.0) is node
        journey.broke(node, [call], lost())
    assert journey.step(0.0, 0.0) is None
    with pytest.raises(UnreachableError, match="ADDJOB may have been carried out") as told:
        call.result()
    assert told.value.sent


def test_an_add_that_never_left_has_no_doubt():
    """Nodes that were never reached cannot have added the job, and the error does not say so."""
    journey, (call,), nodes = journey_of(ADD)
    for node in nodes:
        down(journey, node)
    assert journey.step(99.0, 0.0) is None
    assert "may have been" not in str(call.error)


def test_two_addresses_of_one_node():
    """The second address of a node that may have the job gets nothing."""
    journey, (call,), (a, b) = journey_of(ADD)
    b.id = None
    journey.broke(a, [call], lost())
    assert journey.step(0.0, 0.0) is b
    b.id = a.id  # HELLO says so
    assert journey.calls_for(b, 0.0) == []
    assert journey.step(0.0, 0.0) is None


@given(
    resend=st.sampled_from(Resend),
    breaks=st.lists(st.sampled_from(["broke", "down", "loading", "leaving"]), max_size=20),
)
def test_no_node_gets_an_add_twice(resend, breaks):
    """Whatever happens, nothing is sent twice where it must not be, and the journey ends."""
    command = Command(("X",), repr, resend)
    journey, (call,), nodes = journey_of(command, nodes=3)
    sent: list[Node] = []
    now, misfortunes = 0.0, iter(breaks)
    while (step := journey.step(now, 0.5)) is not None:
        now += 0.1
        if not isinstance(step, Node):
            continue
        if not journey.calls_for(step, now):
            continue
        what = next(misfortunes, "answer")
        if what == "down":
            down(journey, step)
            continue
        sent.append(step)
        if what == "broke":
            journey.broke(step, [call], lost())
        else:
            reply = {"loading": LoadingError(), "leaving": LeavingError()}.get(what, b"reply")
            journey.answered(step, [call], [reply])
    assert call.answered
    if resend is Resend.ONCE_PER_NODE:
        assert len(sent) == len(set(sent)) <= len(nodes)
    if resend is Resend.NEVER:
        assert "broke" not in breaks or breaks.index("broke") + 1 >= len(sent)


def test_a_wait_that_began_is_not_ended_by_the_deadline():
    """GETJOB without timeout goes on for ever once it was sent, but not before."""
    journey, (call,), (a,) = journey_of(WAIT, nodes=1)
    journey.step(0.0, 0.0)
    journey.broke(a, [call], lost())
    assert isinstance(journey.step(1e9, 0.0), float)
    journey, (call,), (a,) = journey_of(WAIT, nodes=1)
    down(journey, a)
    assert journey.step(10.0, 0.0) is None


def test_a_wait_with_timeout_has_it_on_top_of_the_deadline():
    """GETJOB with timeout is tried for its timeout and the deadline, and asks for what is left."""
    journey, (call,), (a,) = journey_of(commands.get_job(["q"], timeout=30_000), nodes=1)
    journey.step(0.0, 0.0)
    journey.broke(a, [call], lost())
    assert isinstance(journey.step(39.0, 0.0), float)
    for now, timeout in ((12.0, "5000"), (28.0, "2000"), (33.0, "1")):
        ((_, command),) = journey.calls_for(a, now)
        assert command.args[2] == timeout
    journey.step(39.0, 0.0)
    assert journey.step(40.0, 0.0) is None


@pytest.mark.parametrize("timeout", [None, 30_000])
def test_a_wait_goes_on_after_a_slice_of_it(timeout):
    """At the end of a slice the same node is visited again at once, and an early nil is final."""
    journey, (call,), (a, _) = journey_of(commands.get_job(["q"], timeout=timeout))
    assert journey.step(0.0, 0.0) is a
    journey.calls_for(a, 0.0)
    journey.answered(a, [call], [None], 5.0)
    assert journey.step(5.0, 0.0) is a
    journey.calls_for(a, 5.0)
    journey.failed(a, lost())
    assert journey.step(20.0, 0.0) is not None  # the wait has begun, and so outlives its node
    journey.calls_for(a, 20.0)
    journey.answered(a, [call], [None], 20.1)
    assert call.result() == []


def test_refusals_by_every_node_are_final():
    """When every node is leaving or wants a password its own error is raised, after one round."""
    journey, (call,), (a, b) = journey_of(READ)
    journey.failed(a, NoAuthError())
    journey.answered(b, [call], [LeavingError()])
    assert b.avoided
    assert journey.step(0.0, 0.0) is None
    with pytest.raises(LeavingError):
        call.result()


def test_one_unreachable_node_leaves_hope():
    """As long as one node may come back, refusals by the others do not end the journey."""
    journey, (call,), (a, b) = journey_of(READ)
    journey.answered(a, [call], [LeavingError()])
    down(journey, b)
    assert isinstance(journey.step(0.0, 0.0), float)


def test_a_leaving_node_is_put_off():
    """A node that turns out to be leaving waits until no other is left."""
    journey, _, (a, b) = journey_of(READ)
    assert journey.step(0.0, 0.0) is a
    a.priority = 100
    assert journey.postpone(a)
    assert journey.step(0.0, 0.0) is b
    down(journey, b)
    assert journey.step(0.0, 0.0) is a
    assert not journey.postpone(a)


def test_a_leaving_node_is_put_off_even_when_in_use():
    """The node in use, where a journey begins, gives way too once it says that it is leaving."""
    known = Nodes(parse_addresses("n:1,n:2"))
    a, b = known
    journey = Journey(known, [Call(READ)], PATIENCE, 0.0, here=a)
    assert journey.step(0.0, 0.0) is a
    a.priority = 100
    assert journey.postpone(a)
    assert journey.step(0.0, 0.0) is b
    down(journey, b)
    assert journey.step(0.0, 0.0) is a
    assert not journey.postpone(a)


def test_each_command_of_a_batch_has_its_own_fate():
    """Of a batch whose connection broke the answered are done, the others go on by their kind."""
    batch = (READ, ADD, READ, ADD, UNKNOWN)
    journey, calls, (a, b) = journey_of(*batch)
    journey.answered(a, calls, [1])
    journey.broke(a, calls[1:], lost())
    assert journey.step(0.0, 0.0) is b
    assert [call for call, _ in journey.calls_for(b, 0.0)] == calls[1:4]
    journey.answered(b, calls[1:4], [b"id", 2, b"id"])
    assert journey.step(0.0, 0.0) is None
    assert [call.error is None for call in calls] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("deadline", "backoff"), [(-1, (0.1, 1)), (1, (2, 1)), (1, (-1, 1)), (1, (0.1,)), (1, 3)]
)
def test_bad_patience(deadline, backoff):
    """A deadline or a backoff that makes no sense is refused."""
    with pytest.raises((ValueError, TypeError)):
        Patience(deadline, backoff)
