"""Which replicas hold replies back, by what Sentinels, the Cluster and the primary say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pydisque.node.store.valkey.promotable import (
    FORGET_AFTER,
    UNKNOWN_AFTER,
    Address,
    Known,
    Listed,
    Listing,
    Promotable,
    View,
    canonical,
    parse_listing,
)

P, A, B, C = ((f"10.0.0.{number}", 6379) for number in (9, 1, 2, 3))
OLD = ("10.0.0.8", 6379)


def listing(*addresses: Address, offset: int = 8, online: bool = True) -> Listing:
    """The primary's, of replicas that have acknowledged all."""
    return Listing(offset, tuple(Listed(address, online, offset) for address in addresses))


def views(*by_sentinel: Sequence[Known], observers: int = 3, primary: Address = P) -> list[View]:
    """What Sentinels say, which are three."""
    return [
        View(f"sentinel-{number}", primary, tuple(known), observers)
        for number, known in enumerate(by_sentinel)
    ]


@pytest.fixture
def replicas() -> Promotable:
    """Of a primary that Sentinels watch."""
    return Promotable(P, watched=True)


UP = Known(A), Known(B)
DOWN = Known(A, down=True), Known(B)


@pytest.mark.parametrize(
    ("said", "lacking"),
    [
        ([UP, UP, UP], [A]),
        ([DOWN, UP, UP], [A]),
        ([DOWN, DOWN, UP], []),
        ([DOWN, DOWN], []),
        ([DOWN], [A]),  # two do not answer
        ([DOWN, [Known(B)]], []),  # one was reset meanwhile, and does not know it
        ([[Known(B)], [Known(B)]], [A]),  # it was listed a moment ago
        ([], [A]),
    ],
)
def test_only_a_majority_leaves_a_replica_out(
    replicas: Promotable, said: list[Sequence[Known]], lacking: list[Address]
) -> None:
    """A replica without a change holds the reply back, unless most Sentinels call it down."""
    replicas.observe(views(UP, UP, UP), 0)
    replicas.read(listing(A, B), 0)
    replicas.observe(views(*said), 1)
    replicas.read(listing(B), 1)
    assert replicas.lacking(8) == lacking


def test_a_sentinel_with_another_primary_has_no_vote(replicas: Promotable) -> None:
    """What a Sentinel lists that has not heard of the failover leaves no replica out."""
    later = [Known(B), Known(OLD)]
    earlier = views([Known(P), Known(B, down=True)], [Known(P), Known(B, down=True)], primary=OLD)
    replicas.observe(
        [*views(later), *[one._replace(observer="x" + one.observer) for one in earlier]], 0
    )
    replicas.read(listing(), 0)
    assert replicas.lacking(8) == [B, OLD]


def test_a_replica_counts_again_once_it_has_caught_up(replicas: Promotable) -> None:
    """A replica that was down is left out until it has what the primary had."""
    replicas.observe(views(DOWN, DOWN, DOWN), 0)
    replicas.read(listing(B), 0)
    assert (replicas.count, replicas.left_out()) == (1, ["10.0.0.1:6379"])
    replicas.observe(views(UP, UP, UP), 1)
    replicas.read(Listing(20, (Listed(A, False, 0), Listed(B, True, 20))), 1)
    assert replicas.count == 1  # it is copied
    replicas.read(Listing(30, (Listed(A, True, 10), Listed(B, True, 30))), 2)
    assert replicas.count == 1  # it lacks some still
    replicas.read(Listing(40, (Listed(A, True, 30), Listed(B, True, 40))), 3)
    assert replicas.lacking(40) == [A]


def test_a_stopped_replica_that_the_primary_still_lists_is_left_out(replicas: Promotable) -> None:
    """The primary lists a stopped replica for a minute, but the Sentinels decide."""
    replicas.read(Listing(8, (Listed(A, True, 5), Listed(B, True, 8))), 0)
    replicas.observe(views(DOWN, DOWN, UP), 1)
    assert replicas.lacking(8) == []


def test_a_new_replica_counts_once_it_was_copied(replicas: Promotable) -> None:
    """A new replica holds nothing back while it is copied; one that had caught up before does."""
    replicas.observe(views([Known(B)]), 0)
    replicas.read(listing(B), 0)
    copied = Listing(9, (Listed(A, False, 0), Listed(B, True, 9)))
    replicas.read(copied, 1)
    replicas.observe(views(UP, UP, UP), 2)
    assert replicas.lacking(9) == []
    replicas.read(listing(A, B, offset=9), 3)
    replicas.read(copied, 4)
    assert replicas.lacking(9) == [A]


def test_replicas_that_are_never_promoted_hold_nothing_back(replicas: Promotable) -> None:
    """Priority 0 counts for no Sentinel; any other priority counts, whatever it is."""
    known = [Known(A, priority=0), Known(B, priority=1), Known(C, priority=1000)]
    replicas.observe(views(known, known, known), 0)
    assert replicas.lacking(8) == [B, C]
    never = Promotable(P, watched=True)
    never.observe(views([Known(A, priority=0)]), 0)
    assert not never.is_awaited


def test_a_replica_that_no_sentinel_knows_yet_counts(replicas: Promotable) -> None:
    """Sentinels learn of replicas after ten seconds, but may promote them then at once."""
    replicas.observe(views(UP, UP, UP), 0)
    replicas.read(listing(A, B, C), 0)
    replicas.read(Listing(9, (Listed(A, True, 9), Listed(B, True, 9), Listed(C, True, 8))), 1)
    assert replicas.lacking(9) == [C]


def test_what_nobody_lists_is_forgotten_after_a_while(replicas: Promotable) -> None:
    """A replica that a failover just took from the primary is remembered for longer than that."""
    replicas.observe(views([Known(B)], [Known(B)], [Known(B)]), 0)
    replicas.read(listing(A, B), 0)
    for now, lacking in ((1, [A]), (FORGET_AFTER, [A]), (FORGET_AFTER + 2, [])):
        replicas.read(listing(B), now)
        assert replicas.lacking(8) == lacking


def test_nothing_is_forgotten_while_sentinels_are_away(replicas: Promotable) -> None:
    """With fewer than a majority nobody knows whether a replica is still there."""
    replicas.observe(views([Known(B)]), 0)
    replicas.read(listing(A, B), 0)
    for now in (1, FORGET_AFTER, 10 * FORGET_AFTER):
        replicas.read(listing(B), now)
    assert replicas.lacking(8) == [A]


def test_the_primary_before_this_one_counts(replicas: Promotable) -> None:
    """The server that was replaced may be promoted again before any Sentinel lists it."""
    replicas.expect(OLD, 100, 0)
    replicas.observe(views(UP), 0)
    replicas.read(listing(A, B), 0)
    assert replicas.lacking(8) == [OLD]


@pytest.mark.parametrize(
    ("known", "lacking"),
    [
        ([Known(B, offset=5), Known(OLD, is_primary=True)], []),
        ([Known(B, offset=5), Known(OLD)], [OLD]),  # it is reconfigured by now
        ([Known(B, offset=5, priority=200), Known(OLD, is_primary=True)], [OLD]),
        ([Known(B, offset=5, down=True), Known(OLD, is_primary=True)], [OLD]),
        ([Known(OLD, is_primary=True)], [OLD]),
    ],
)
def test_a_primary_that_is_not_reconfigured_yet(
    replicas: Promotable, known: list[Known], lacking: list[Address]
) -> None:
    """The server that was replaced is left out only as long as Sentinels prefer another one."""
    replicas.expect(OLD, 100, 0)
    replicas.observe(views(known, known, known), 0)
    replicas.read(listing(B), 0)
    assert replicas.lacking(8) == lacking


def test_all_sentinels_have_to_prefer_another_one(replicas: Promotable) -> None:
    """A Sentinel that does not answer, or names another primary, may yet make it the primary."""
    known = [Known(B, offset=5), Known(OLD, is_primary=True)]
    replicas.expect(OLD, 100, 0)
    replicas.read(listing(B), 0)
    replicas.observe(views(known, known), 0)
    assert replicas.lacking(8) == [OLD]
    stale = View("stale", OLD, (Known(P), Known(B)), 3)
    replicas.observe([*views(known, known), stale], 1)
    assert replicas.lacking(8) == [OLD]


@pytest.mark.parametrize("how", ["listed", "reconfigured", "primary down"])
def test_a_primary_that_is_about_to_be_a_replica(replicas: Promotable, how: str) -> None:
    """The server that was replaced counts as soon as its rank as a replica may be any."""
    known = [Known(B, offset=5), Known(OLD, is_primary=True)]
    said = views(known, known, known)
    replicas.expect(OLD, 100, 0)
    replicas.observe(said, 0)
    replicas.read(listing(B), 0)
    if how == "listed":
        replicas.read(Listing(9, (Listed(B, True, 9), Listed(OLD, False, 0))), 1)
    elif how == "reconfigured":
        replicas.reconfigured(OLD)
    else:
        said = [said[0]._replace(is_primary_down=True), *said[1:]]
    replicas.observe(said, 2)
    assert replicas.lacking(8) == [OLD]


def test_a_replaced_primary_that_is_back(replicas: Promotable) -> None:
    """The server that was replaced counts as soon as it is up, as it is not about to catch up."""
    known = [Known(B, offset=5), Known(OLD, down=True, is_primary=True, priority=50)]
    replicas.expect(OLD, 100, 0)
    replicas.read(listing(B), 0)
    replicas.observe(views(known, known, known), 1)
    assert replicas.lacking(8) == []
    known[1] = known[1]._replace(down=False)
    replicas.observe(views(known, known, known), 2)
    assert replicas.lacking(8) == [OLD]


def test_a_replica_that_is_preferred_while_it_lags(replicas: Promotable) -> None:
    """A replica that comes back counts at once where Sentinels would promote it before others."""
    known = [Known(A, down=True, priority=50, offset=1), Known(B, offset=8)]
    replicas.observe(views(known, known, known), 0)
    replicas.read(listing(B), 0)
    known[0] = known[0]._replace(down=False)
    replicas.observe(views(known, known, known), 1)
    assert replicas.lacking(8) == [A]
    known[0] = known[0]._replace(priority=100)
    other = Promotable(P, watched=True)
    other.observe(views(DOWN, DOWN, DOWN), 0)
    other.read(listing(B), 0)
    other.observe(views(known, known, known), 1)
    assert other.lacking(8) == []


@pytest.mark.parametrize("priority", [0, 50])
def test_the_own_priority_of_a_replaced_primary(replicas: Promotable, priority: int) -> None:
    """The server that was replaced counts if it would be preferred as soon as it is a replica."""
    known = [Known(B, offset=5), Known(OLD, is_primary=True)]
    replicas.expect(OLD, priority, 0)
    replicas.observe(views(known, known, known), 0)
    replicas.read(listing(B), 0)
    assert replicas.lacking(8) == [OLD]


def test_replicas_are_known_on_another_connection(replicas: Promotable) -> None:
    """What may be promoted is not forgotten with a connection, nor what was left out."""
    replicas.observe(views(DOWN, DOWN, DOWN), 0)
    later = Promotable(B, watched=True)
    later.inherit(replicas, 1)
    later.expect(P, 0, 1)
    assert (later.names(), later.left_out()) == (["10.0.0.9:6379"], ["10.0.0.1:6379"])


def test_a_replica_that_was_promoted_by_hand(replicas: Promotable) -> None:
    """A replica that acts as a primary counts, unless it was the primary before this one."""
    known = [Known(B, offset=5), Known(A, is_primary=True)]
    replicas.observe(views(known, known, known), 0)
    replicas.read(listing(B), 0)
    assert replicas.lacking(8) == [A]


def test_one_server_at_two_addresses(replicas: Promotable) -> None:
    """A Sentinel may know a server by two addresses; its run tells that it is one."""
    other = ("db1.example", 7000)
    replicas.observe(views([Known(A, "run-a"), Known(other, "run-a"), Known(B, "run-b")]), 0)
    replicas.read(listing(A, B), 0)
    assert (replicas.count, replicas.lacking(8)) == (2, [])


def test_the_primary_itself_is_no_replica() -> None:
    """During a failover a Sentinel still lists as a replica what is the primary already."""
    replicas = Promotable(P, "run-p", watched=True)
    replicas.observe(views([Known(P), Known(("elsewhere", 1), "run-p"), Known(B)]), 0)
    assert replicas.lacking(8) == [B]


@pytest.mark.parametrize(
    ("known", "listed"),
    [
        (("db1.example", 6379), A),
        (("DB1.example.", 6379), ("db1.example", 6379)),
        (("::1", 6379), ("0:0:0:0:0:0:0:1", 6379)),
        (("::ffff:10.0.0.1", 6379), A),
    ],
)
def test_names_and_numbers_of_one_host(known: Address, listed: Address) -> None:
    """Sentinels may write a host otherwise than the primary does."""
    hosts = {"db1.example": frozenset({"10.0.0.1"})}
    replicas = Promotable(P, hosts=hosts, watched=True)
    replicas.observe(views([Known(known)]), 0)
    replicas.read(listing(listed), 0)
    assert (replicas.count, replicas.lacking(8)) == (1, [])


def test_translated_addresses_are_matched_by_number(replicas: Promotable) -> None:
    """Where no address of the observers is ever listed, all replicas that are listed have to do."""
    inside, other = ("172.17.0.2", 6379), ("172.17.0.3", 6379)
    replicas.observe(views(UP, UP, UP), 0)
    replicas.read(listing(inside, other), 0)
    assert replicas.lacking(8) == [A, B]  # they may be new ones
    replicas.read(listing(inside, other), UNKNOWN_AFTER + 1)
    assert replicas.lacking(8) == []
    replicas.read(listing(other), UNKNOWN_AFTER + 2)
    assert set(replicas.lacking(8)) >= {A, B}


@pytest.mark.parametrize(
    ("given", "all_online", "before", "after"),
    [((), False, 0, 0), ((A,), False, 1, 1), ((), True, 2, 1), ((A,), True, 2, 2)],
)
def test_replicas_without_observers(
    given: tuple[Address, ...], all_online: bool, before: int, after: int
) -> None:
    """Those in the store's address count for good; others while they are online, if asked for."""
    replicas = Promotable(P, given=given, all_online=all_online)
    replicas.read(listing(A, B), 0)
    assert replicas.count == before
    for now in (1, FORGET_AFTER + 2):
        replicas.read(listing(B), now)
    assert replicas.count == after


def test_a_listing_as_servers_write_it() -> None:
    """A tool that fetches a copy of the data is no replica; one that is copied is not online."""
    info = (
        b"# Replication\r\nrole:master\r\nconnected_slaves:3\r\n"
        b"slave0:ip=10.0.0.1,port=6379,state=online,offset=98,lag=1,type=replica\r\n"
        b"slave1:ip=fd00::2,port=6380,state=wait_bgsave,offset=0,lag=0,type=replica\r\n"
        b"slave2:ip=127.0.0.1,port=0,state=online,offset=0,lag=7,type=replica\r\n"
        b"master_repl_offset:99\r\nsecond_repl_offset:-1\r\n"
    )
    listed = Listed(("10.0.0.1", 6379), True, 98), Listed(("fd00::2", 6380), False, 0)
    assert parse_listing(info) == Listing(99, listed)
    assert (parse_listing(info).online, parse_listing(info).count(98)) == (1, 1)


def test_a_reply_without_an_offset_confirms_nothing() -> None:
    """No acknowledgement reaches an offset that the primary did not tell."""
    found = parse_listing(b"slave0:ip=10.0.0.1,port=6379,state=online,offset=98,lag=1\r\n")
    assert found.count(found.offset) == 0


def test_hosts_are_compared_in_one_form() -> None:
    """Case, the final dot and the many forms of IPv6 make no difference."""
    assert canonical("DB1.Example.") == "db1.example"
    assert canonical("2001:DB8:0:0::1") == canonical("2001:db8::1") == "2001:db8::1"
