"""Which nodes there are, in which order they are tried, and when to follow the jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.client.nodes import Following, Node, Nodes
from pydisque.protocol.addresses import Address, parse_addresses

A, B, C, D = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)


def hello(own: str, *others: tuple[str, str, int, int], priority: int = 1) -> list[object]:
    entries = [(own, "", 7711, priority), *others]
    return [1, own.encode(), *([str(part).encode() for part in entry] for entry in entries)]


def order(nodes: Nodes) -> list[str]:
    return [str(node.address) for node in nodes.in_order()]


def nodes_at(*addresses: str) -> tuple[Nodes, list[Node]]:
    nodes = Nodes(parse_addresses(addresses))
    return nodes, list(nodes)


def test_given_nodes_keep_their_order():
    """Nodes are tried in the order given."""
    nodes, _ = nodes_at("x:1", "y:2", "w:3")
    assert order(nodes) == ["x:1", "y:2", "w:3"]


def test_learnt_nodes_come_after_by_priority():
    """Nodes learnt from HELLO come after those given, the better priority first."""
    nodes, (x, _) = nodes_at("x:1", "y:2")
    nodes.learn(x, hello(A, (C, "10.0.0.3", 3, 10), (D, "10.0.0.4", 4, 1)))
    assert order(nodes) == ["x:1", "y:2", "10.0.0.4:4", "10.0.0.3:3"]


def test_nobody_is_discovered_who_does_not_want_it():
    """Without discovery none is learnt; how those given are is."""
    nodes = Nodes([Address("x", 1), Address("y", 2)], discover=False)
    nodes.learn(next(iter(nodes)), hello(A, (B, "y", 2, 100), (C, "10.0.0.3", 3, 1)))
    assert order(nodes) == ["x:1", "y:2"]
    assert [node.id for node in nodes] == [A, B]
    assert [node.avoided for node in nodes] == [False, True]


@pytest.mark.parametrize("entry", [(B, "", 2, 1), (B, "10.0.0.2", 0, 1), (B, "10.0.0.2", 2, 100)])
def test_useless_entries_are_skipped(entry):
    """An entry without address or port, or of a failed node, is not learnt."""
    nodes, (x,) = nodes_at("x:1")
    nodes.learn(x, hello(A, entry))
    assert order(nodes) == ["x:1"]


def test_a_node_given_is_not_learnt_again():
    """A node that was given by name and learnt by number is one, once it has said who it is."""
    nodes, (x, y) = nodes_at("x:1", "y:2")
    nodes.learn(x, hello(A, (B, "10.0.0.2", 2, 1)))
    assert order(nodes) == ["x:1", "y:2", "10.0.0.2:2"]
    nodes.learn(y, hello(B, (A, "10.0.0.1", 1, 1)))
    assert order(nodes) == ["x:1", "y:2"]


def test_a_passing_id_is_replaced():
    """A node being joined shows up with a passing ID; its address tells that it is the same."""
    nodes, (x,) = nodes_at("x:1")
    nodes.learn(x, hello(A, (C, "10.0.0.2", 2, 1)))
    nodes.learn(x, hello(A, (B, "10.0.0.2", 2, 1)))
    assert order(nodes) == ["x:1", "10.0.0.2:2"]
    assert [node.id for node in nodes] == [A, B]


def test_learnt_nodes_are_reached_in_the_same_way():
    """TLS and password of the node that told are used for those it told of, a socket's path not."""
    nodes = Nodes([Address("x", 1, tls=True, username="u", password="p")])
    nodes.learn(*nodes, hello(A, (B, "10.0.0.2", 2, 1)))
    assert [node.address for node in nodes][1] == Address(
        "10.0.0.2", 2, tls=True, username="u", password="p"
    )
    local = Nodes([Address("localhost", path="/s")])
    local.learn(*local, hello(A, (B, "10.0.0.2", 2, 1)))
    assert order(local) == ["unix:/s", "10.0.0.2:2"]


@pytest.mark.parametrize(
    ("given_node", "named", "used"),
    [
        ("unix:/s", "127.0.0.1", False),
        ("unix:/s", "10.0.0.3", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "10.0.0.3", False),
        ("[::1]", "10.0.0.3", False),
        ("127.0.0.1", "localhost", True),
        ("10.0.0.1", "10.0.0.3", True),
        ("disques://localhost", "10.0.0.3", True),
    ],
)
def test_a_password_takes_no_way_that_is_less_safe(given_node, named, used):
    """A node that is named is not sent a password in the clear where more can read it."""
    nodes = Nodes(parse_addresses(given_node), secret=True)
    nodes.learn(next(iter(nodes)), hello(A, (C, named, 3, 1)))
    assert (len(order(nodes)) == 2) is used
    for options in ({"tls": True, "secret": True}, {}):  # nothing to be read, nothing to be sent
        nodes = Nodes(parse_addresses(given_node), **options)
        nodes.learn(next(iter(nodes)), hello(A, (C, named, 3, 1)))
        assert len(order(nodes)) == 2


def test_the_password_of_a_url_counts_as_one():
    """From a tunnel's end the password of the URL goes to no other host in the clear."""
    nodes, (here,) = nodes_at("disque://:secret@localhost:1")
    nodes.learn(here, hello(A, (C, "10.0.0.3", 3, 1), (D, "127.0.0.1", 4, 1)))
    assert order(nodes) == ["localhost:1", "127.0.0.1:4"]


@pytest.mark.parametrize("host", ["a b", "a\x1b[2J", "a\0", "u@h", "h/x", "h?", "\n"])
def test_hosts_that_are_none_are_not_used(host):
    """A host that no address can have, as a broken or hostile node may name, is skipped."""
    nodes, (here,) = nodes_at("x:1")
    nodes.learn(here, hello(A, (C, host, 3, 1), (D, "y", 4, 1)))
    assert order(nodes) == ["x:1", "y:4"]


def test_failing_and_leaving_nodes_come_last():
    """Who failed comes after who did not, who is leaving after both; none is forgotten."""
    nodes, (x, y, _) = nodes_at("x:1", "y:2", "z:3")
    x.priority = 100
    y.failing = True
    assert order(nodes) == ["z:3", "y:2", "x:1"]
    nodes.forgive()
    assert order(nodes) == ["y:2", "z:3", "x:1"]
    nodes.learn(x, hello(A))
    assert order(nodes) == ["x:1", "y:2", "z:3"]


def test_a_node_tells_that_it_is_leaving():
    """A node's own entry with priority 100 means that it is leaving."""
    nodes, (x, _) = nodes_at("x:1", "y:2")
    nodes.learn(x, hello(A, priority=100))
    assert x.avoided
    assert order(nodes) == ["y:2", "x:1"]


entries = st.lists(
    st.tuples(
        st.sampled_from([A, B, C, D]),
        st.sampled_from(["", "10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        st.sampled_from([0, 1, 2]),
        st.sampled_from([1, 5, 10, 100]),
    ),
    max_size=6,
)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([A, B, C, D]), entries), max_size=12))
def test_whatever_nodes_say(said):
    """Whatever HELLOs come, the given nodes stay, no address comes twice, all can be tried."""
    nodes, given_nodes = nodes_at("x:1", "10.0.0.1:1")
    for who, own, others in said:
        known = list(nodes)
        nodes.learn(known[who % len(known)], hello(own, *others))
        found = nodes.in_order()
        assert set(given_nodes) <= set(found)
        assert len({node.address for node in found}) == len(found)
        assert all(node.address.host and node.address.port for node in found)


def ids(node: Node, count: int) -> list[bytes]:
    return [f"D-{(node.id or '')[:8]}-{'x' * 24}-05a1".encode()] * count


@pytest.fixture
def cluster() -> tuple[Nodes, Node, Node]:
    nodes, (x, y) = nodes_at("x:1", "y:2")
    nodes.learn(x, hello(A))
    nodes.learn(y, hello(B))
    return nodes, x, y


def test_following_decides_once_in_a_while(cluster):
    """Only every so many jobs it is time to choose."""
    _, x, _ = cluster
    following = Following(every=10)
    assert not following.received(ids(x, 9))
    assert following.received(ids(x, 1))


def test_following_moves_to_the_better_node(cluster):
    """When the other node makes most of the jobs, go there; and then stay."""
    nodes, x, y = cluster
    following = Following(every=10)
    following.received(ids(x, 2) + ids(y, 8))
    assert following.choose(nodes, here=x) is y
    following.received(ids(x, 2) + ids(y, 8))
    assert following.choose(nodes, here=y) is None


def test_following_stays_without_good_reason(cluster):
    """A node that is only a little better is not worth a move."""
    nodes, x, y = cluster
    following = Following(every=10, margin=1.5)
    following.received(ids(x, 10) + ids(y, 14))
    assert following.choose(nodes, here=x) is None


def test_following_heeds_priorities(cluster):
    """Jobs of a node that is suspected down count less, those of a leaving node nothing."""
    nodes, x, y = cluster
    following = Following(every=10)
    following.received(ids(x, 10) + ids(y, 40))
    y.priority = 10
    assert following.choose(nodes, here=x) is None
    following.received(ids(y, 400))
    y.priority = 100
    assert following.choose(nodes, here=x) is None


def test_following_forgets_slowly(cluster):
    """Old counts fade: when the makers change, the client follows."""
    nodes, x, y = cluster
    following = Following(every=10)
    following.received(ids(x, 40))
    assert following.choose(nodes, here=x) is None
    moves = []
    for _ in range(5):
        following.received(ids(y, 20))
        moves.append(following.choose(nodes, here=x))
    assert moves[0] is None
    assert moves[-1] is y


def test_following_knows_jobs_of_strangers(cluster):
    """Jobs made by a node nobody knows lead nowhere."""
    nodes, x, _ = cluster
    following = Following(every=1)
    following.received([f"D-{C[:8]}-{'x' * 24}-05a1"] * 50)
    assert following.choose(nodes, here=x) is None
