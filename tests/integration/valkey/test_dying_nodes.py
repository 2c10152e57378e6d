"""What becomes of jobs, timers and waiting clients when nodes are killed and stopped."""

from __future__ import annotations

import signal

import pytest

from support.resp_peer import Peer, wait_for_blocked
from support.servers import ask, until


def left_to_time(peer: Peer) -> None:
    """Jobs of which one will be queued, one queued again, and one expire, soon."""
    peer.ask("ADDJOB", "delayed", "x", 0, "DELAY", 1)
    peer.ask("ADDJOB", "retried", "x", 0, "RETRY", 1)
    peer.ask("GETJOB", "FROM", "retried")
    peer.ask("ADDJOB", "expiring", "x", 0, "TTL", 1)


def has_passed(address: str) -> bool:
    """Whether all of that has happened."""
    lengths = [ask(address, "QLEN", queue) for queue in ("delayed", "retried", "expiring")]
    return lengths == [1, 1, 0]


@pytest.mark.parametrize("shards", [1, 64])
def test_any_node_keeps_the_time(place, processes, connect, shards):
    """What was begun at nodes that died goes on at the one that is left, and serves who waits."""
    *dying, left = processes(f"{place}&shards={shards}", 3)
    consumer, peer = connect(left), connect(left)
    consumer.send("GETJOB", "FROM", "delayed")
    wait_for_blocked(peer, "delayed", 1)
    left_to_time(connect(dying[0]))
    for node in dying:
        node.kill()
    assert consumer.read()[0][2] == b"x"
    until(lambda: peer.ask("QLEN", "retried") == 1)
    until(lambda: peer.ask("QLEN", "expiring") == 0)


def test_the_time_goes_on_once_a_node_is_there(place, processes, connect):
    """What fell due while there was none is done by the first that starts."""
    [node] = processes(place)
    left_to_time(connect(node))
    node.kill()
    [other] = processes(place)
    until(lambda: has_passed(other.address))


@pytest.mark.parametrize("jobs", [1, 5])
def test_clients_of_a_dead_node_swallow_nothing(place, processes, connect, jobs):
    """Its waiting clients were first in line; the jobs go to those of another node."""
    dying, other = processes(place, 2)
    peer = connect(other)
    for number in range(5):
        connect(dying).send("GETJOB", "FROM", "q")
        wait_for_blocked(peer, "q", number + 1)
    waiting = [connect(other) for _ in range(jobs)]
    for each in waiting:
        each.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 5 + jobs)
    dying.kill()
    wait_for_blocked(peer, "q", jobs)
    added = {peer.ask("ADDJOB", "q", number, 0) for number in range(jobs)}
    assert {each.read()[0][1] for each in waiting} == added
    assert peer.ask("QLEN", "q") == 0


def test_a_stopped_node_holds_up_nobody(place, processes, connect):
    """A node that is woken and does not come is passed over; its clients are served afterwards."""
    stopped, other = processes(place, 2)
    peer = connect(other)
    first = connect(stopped)
    first.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    second = connect(other)
    second.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 2)
    stopped.signal(signal.SIGSTOP)
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert second.read() == [[b"q", job, b"x"]]
    stopped.signal(signal.SIGCONT)
    again = peer.ask("ADDJOB", "q", "y", 0)
    assert first.read() == [[b"q", again, b"y"]]
    wait_for_blocked(peer, "q", 0)


def test_nodes_know_who_lives(place, processes, connect):
    """HELLO and CLUSTER NODES list all that do; one that leaves is not to be used, the dead go."""
    first, second, third = nodes = processes(place, 3)
    peer = connect(first)

    def others() -> dict[bytes, bytes]:
        """Priorities of the other nodes, by their addresses."""
        return {node[1] + b":" + node[2]: node[3] for node in peer.ask("HELLO")[3:]}

    addresses = [node.address.encode() for node in nodes]
    until(lambda: others() == dict.fromkeys(addresses[1:], b"1"))
    assert peer.ask("HELLO")[2][2] == b"%d" % first.port
    assert second.ask("CLUSTER", "LEAVING", "yes") == b"OK"
    until(lambda: others() == {addresses[1]: b"100", addresses[2]: b"1"})
    lines = peer.ask("CLUSTER", "NODES").decode().splitlines()
    flags = {line.split()[1]: line.split()[2] for line in lines}
    assert flags == {
        f":{first.port}": "myself", second.address: "leaving", third.address: "noflags"
    }  # fmt: skip
    assert b"cluster_known_nodes:3" in peer.ask("CLUSTER", "INFO")
    third.kill()
    until(lambda: others() == {addresses[1]: b"100"}, 15)
    assert third.address.encode() not in peer.ask("CLUSTER", "NODES")
