"""Decides which replicas of a primary a failover could promote, and which of them lack a change.

Invariant: a promotable replica leaves the set only on the evidence of a majority of the observers
(Sentinels, or the Cluster), and joins it again once it has caught up. Takes the answers of
Sentinels, Cluster and primary as values. Pure: no I/O and no clock.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pydisque.node.store.valkey.url import written

Address = tuple[str, int]

FORGET_AFTER = 30.0
"""Seconds after which a replica that nobody lists any more is left out. Longer than a failover
takes, as a replica that was just promoted is one that its old primary does not list."""

UNKNOWN_AFTER = 15.0
"""Seconds after which an address that the primary lists and that no observer knows is taken for
another address of a replica that the observers know: Sentinels learn of replicas every 10 s."""

_LISTED = re.compile(rb"^slave\d+:ip=([^,]*),port=(\d+),state=([^,]*),offset=(\d+)", re.MULTILINE)
_OFFSET = re.compile(rb"^master_repl_offset:(\d+)", re.MULTILINE)


class Listed(NamedTuple):
    """A replica as its primary lists it."""

    address: Address
    online: bool
    """Whether it follows the stream of changes; else the primary is still copying itself to it."""
    offset: int
    """The offset that it last acknowledged."""


class Listing(NamedTuple):
    """``INFO replication`` of a primary."""

    offset: int
    replicas: tuple[Listed, ...]

    @property
    def online(self) -> int:
        """How many replicas follow."""
        return sum(replica.online for replica in self.replicas)

    def count(self, offset: int) -> int:
        """How many replicas have acknowledged an offset."""
        return sum(replica.online and replica.offset >= offset for replica in self.replicas)


def parse_listing(info: bytes) -> Listing:
    """Read the reply to ``INFO replication``.

    A replica without a port is a program that copies the data, as ``valkey-cli --rdb`` does.
    """
    offset = _OFFSET.search(info)
    return Listing(
        int(offset[1]) if offset else sys.maxsize,  # no replica acknowledges that
        tuple(
            Listed((host.decode(), int(port)), state == b"online", int(acknowledged))
            for host, port, state, acknowledged in _LISTED.findall(info)
            if port != b"0"
        ),
    )


NOTHING_LISTED = Listing(0, ())


class Known(NamedTuple):
    """A replica as an observer knows it."""

    address: Address
    run_id: str = ""
    """The same at each address of one server; empty if the observer does not know it."""
    priority: int = 100
    """Of those that are up Sentinels promote the one with the lowest; 0 is never promoted."""
    down: bool = False
    offset: int = 0
    """Of those with the same priority the one with the highest is promoted."""
    is_primary: bool = False
    """Whether it acts as a primary still: one that was replaced, and that is not reconfigured yet.
    Its offset as a replica is 0."""

    @property
    def rank(self) -> tuple[int, int]:
        """The lowest is promoted."""
        return self.priority, -self.offset


class View(NamedTuple):
    """One observer's answer: a Sentinel's, or that of a Cluster as a whole."""

    observer: str
    primary: Address
    replicas: tuple[Known, ...]
    observers: int = 1
    """How many observers there are, itself included."""
    quorum: int = 1
    epoch: int = 0
    is_primary_down: bool = False


@dataclass(eq=False)
class _Member:
    addresses: list[Address]
    first_seen: float
    run_id: str = ""
    known: bool = False
    """Whether an observer knows it."""
    matched: bool = False
    """Whether the primary has listed it."""
    given: bool = False
    promotable: bool = True
    left_out: str = ""
    """Why it is left out until it has caught up; empty if it is not."""
    replaced: bool = False
    """Whether it was the primary before this one, and is none of its replicas yet."""
    own_priority: int = 0
    """The priority that it will have as a replica, which no Sentinel knows yet; 0 if unknown."""
    outranked: bool = False
    """Whether it is that, and another one would be promoted in any case."""
    absent_since: float | None = None


@dataclass
class Promotable:
    """The replicas of one primary."""

    primary: Address
    run_id: str = ""
    """The primary's."""
    given: tuple[Address, ...] = ()
    """Replicas that are never forgotten, once they were listed."""
    experienced: set[Address] = field(default_factory=set)
    """Replicas, of any primary, that had caught up once: they are not new when they are copied
    again, but may be promoted with what they have."""
    hosts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The IP addresses of host names."""
    views: tuple[View, ...] = ()
    watched: bool = False
    """Whether there are observers, be it that none of them answers."""
    all_online: bool = False
    """Whether, without observers, also replicas count that are not given."""
    listing: Listing = NOTHING_LISTED
    _members: list[_Member] = field(default_factory=list)
    _offset_before: int = 0
    _now: float = 0.0

    # Taking in

    def expect(self, address: Address, priority: int, now: float) -> None:
        """Count a server that is about to become a replica: the primary before this one."""
        if not self._is_primary(address, ""):
            self._now = now
            member = self._member(address, "")
            member.replaced, member.own_priority = True, priority

    def inherit(self, before: Promotable, now: float) -> None:
        """Count the replicas of the primary before, or of the same on an earlier connection."""
        self._now = now
        for other in before._members:
            if other.promotable and not self._is_primary(other.addresses[0], other.run_id):
                self._member(other.addresses[0], other.run_id).left_out = other.left_out

    def reconfigured(self, address: Address) -> None:
        """A Sentinel makes a server a replica: its rank may be any from now on."""
        if member := self._find(address, ""):
            member.replaced = member.outranked = False

    def observe(self, views: Iterable[View], now: float) -> None:
        """Take in the answers of all observers that answer."""
        self._now = now
        self.views = tuple({view.observer: view for view in views}.values())
        for member in self._members:
            member.known = False
        for view in self.views:
            for known in view.replicas:
                if not self._is_primary(known.address, known.run_id):
                    self._member(known.address, known.run_id).known = True
        self._judge()

    def read(self, listing: Listing, now: float) -> None:
        """Take in what the primary lists."""
        self._now = now
        self._offset_before, self.listing = self.listing.offset, listing
        for replica in listing.replicas:
            member = self._find(replica.address, "")
            if member is None:
                member = self._member(replica.address, "")
                if not replica.online and replica.address not in self.experienced:
                    member.left_out = "it is copied for the first time"
            member.replaced = False
            if not member.matched:
                member.matched = True
                member.given = any(self._is_same(replica.address, one) for one in self.given)
        self._judge()

    # Answering

    @property
    def is_awaited(self) -> bool:
        """Whether there is any replica that is, or may soon be, promotable."""
        return any(member.promotable for member in self._members)

    @property
    def count(self) -> int:
        """How many replicas are promotable."""
        return len(self._required())

    def lacking(self, offset: int) -> list[Address]:
        """The promotable replicas that have not acknowledged an offset, as last listed."""
        lacking = [one for one in self._required() if not self._has(one, offset)]
        unmatched = all(member.known and not member.matched for member in lacking)
        if lacking and unmatched and self._by_number(offset):
            return []
        return [member.addresses[0] for member in lacking]

    def names(self) -> list[str]:
        """The promotable replicas."""
        return [written(*member.addresses[0]) for member in self._required()]

    def left_out(self) -> list[str]:
        """The replicas that are down or have not caught up."""
        members = (one for one in self._members if one.promotable and one.left_out)
        return [written(*member.addresses[0]) for member in members]

    # Deciding

    def _judge(self) -> None:
        for member in list(self._members):
            knowns = [one for view in self.views if (one := self._known(member, view))]
            if knowns:
                member.promotable = any(known.priority for known in knowns)
            elif not self.watched:
                member.promotable = member.given or self.all_online
            if self._is_down(member):
                member.left_out = "it is down"
            elif member.left_out and (self._has_caught_up(member) or self._is_preferred(member)):
                member.left_out = ""
            elif self._is_forgotten(member):
                self._members.remove(member)
                continue
            member.outranked = self._is_outranked(member)
            if not member.left_out and self._is_online(member):
                self.experienced.update(member.addresses)

    def _majority(self) -> int:
        return max([len(self.views), *(view.observers for view in self.views)]) // 2 + 1

    def _voters(self) -> list[View]:
        """The observers that speak of this primary; others know an earlier or later one."""
        return [view for view in self.views if self._is_primary(view.primary, "")]

    def _is_down(self, member: _Member) -> bool:
        """Whether a majority says so; one that does not know the replica says no less."""
        votes = [self._known(member, view) for view in self._voters()]
        if not any(vote and vote.down for vote in votes):
            return False
        return sum(vote is None or vote.down for vote in votes) >= self._majority()

    def _is_outranked(self, member: _Member) -> bool:
        """Whether no Sentinel would promote the primary before this one, as it prefers another one.

        Sentinels leave it a primary for some ten seconds, in which it cannot have any change. One
        that has not heard of the failover may yet take it for the primary, so all have to agree.
        Its own priority counts as well: with a better one it would be promoted as soon as it is a
        replica, before it has caught up.
        """
        views = self._voters()
        if not member.replaced or any(view.observers > len(views) for view in self.views):
            return False
        return bool(views) and all(
            (known := self._known(member, view)) is not None
            and known.is_primary
            and not view.is_primary_down
            and any(
                rival.rank < min(known.rank, (member.own_priority, 0))
                for rival in self._rivals(member, view)
            )
            for view in views
        )

    def _is_preferred(self, member: _Member) -> bool:
        """Whether a Sentinel would promote a replica that has not caught up before one that has.

        This holds for any that acts as a primary, as it is not about to catch up.
        """
        for view in self._voters():
            known = self._known(member, view)
            if known is None or known.down or not known.priority:
                continue
            rivals = self._rivals(member, view)
            if known.is_primary or (rivals and all(known.rank < one.rank for one in rivals)):
                return True
        return False

    def _rivals(self, member: _Member, view: View) -> list[Known]:
        """The replicas that an observer may promote in place of one, and that have all changes."""
        return [
            known
            for known in view.replicas
            if known.priority and not known.down
            and (rival := self._find(known.address, known.run_id)) not in (None, member)
            and rival is not None and not (rival.left_out or rival.replaced)
        ]  # fmt: skip

    def _is_forgotten(self, member: _Member) -> bool:
        """Whether nobody has listed a replica for a while who would know of it."""
        if member.known or member.given or self._is_online(member):
            member.absent_since = None
        elif not self.watched or len(self._voters()) >= self._majority():
            if member.absent_since is None:
                member.absent_since = self._now
            return self._now - member.absent_since > FORGET_AFTER
        return False

    def _has_caught_up(self, member: _Member) -> bool:
        return bool(self._offset_before) and self._has(member, self._offset_before)

    def _by_number(self, offset: int) -> bool:
        """Whether all listed replicas have an offset, and stand for those that observers know.

        Observers may know replicas by addresses that the primary never lists, behind a translation
        of addresses. Then numbers decide, of all that are up, promotable or not.
        """
        strangers = [
            replica
            for replica in self.listing.replicas
            if (member := self._find(replica.address, "")) and not member.known
            and self._now - member.first_seen > UNKNOWN_AFTER
        ]  # fmt: skip
        unmatched = [one for one in self._members if one.known and not one.matched]
        there = all(replica.online and replica.offset >= offset for replica in strangers)
        return there and len(strangers) >= len([one for one in unmatched if not one.left_out])

    # Identity

    def _required(self) -> list[_Member]:
        members = self._members
        return [one for one in members if one.promotable and not (one.left_out or one.outranked)]

    def _listed(self, member: _Member) -> list[Listed]:
        return [one for one in self.listing.replicas if self._is(member, one.address, "")]

    def _is_online(self, member: _Member) -> bool:
        return any(replica.online for replica in self._listed(member))

    def _has(self, member: _Member, offset: int) -> bool:
        return any(one.online and one.offset >= offset for one in self._listed(member))

    def _known(self, member: _Member, view: View) -> Known | None:
        """What an observer says; of several entries for one server, the one that is up."""
        found = [one for one in view.replicas if self._is(member, one.address, one.run_id)]
        return min(found, key=lambda known: known.down, default=None)

    def _member(self, address: Address, run_id: str) -> _Member:
        """The replica of this address and run, which is new if there is none."""
        found = [one for one in self._members if self._is(one, address, run_id)]
        member = found[0] if found else _Member([address], self._now)
        if not found:
            self._members.append(member)
        for other in found[1:]:  # what were two are one server, as its run shows
            member.addresses += other.addresses
            member.matched |= other.matched
            member.given |= other.given
            member.replaced |= other.replaced
            self._members.remove(other)
        if address not in member.addresses:
            member.addresses.append(address)
        member.run_id = run_id or member.run_id
        return member

    def _find(self, address: Address, run_id: str) -> _Member | None:
        return next((one for one in self._members if self._is(one, address, run_id)), None)

    def _is(self, member: _Member, address: Address, run_id: str) -> bool:
        if run_id and run_id == member.run_id:
            return True
        return any(self._is_same(address, one) for one in member.addresses)

    def _is_primary(self, address: Address, run_id: str) -> bool:
        return (bool(run_id) and run_id == self.run_id) or self._is_same(address, self.primary)

    def _is_same(self, one: Address, other: Address) -> bool:
        """Whether two addresses are one, also if one is a name and the other its number."""
        if one == other:
            return True
        return one[1] == other[1] and bool(self._hosts(one[0]) & self._hosts(other[0]))

    def _hosts(self, host: str) -> frozenset[str]:
        host = canonical(host)
        return self.hosts.get(host) or frozenset({host})


def canonical(host: str) -> str:
    """One way to write an IP address or a host name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".")
    return str(getattr(address, "ipv4_mapped", None) or address)
