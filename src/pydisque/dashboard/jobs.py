"""What pages want to know of jobs, asked of the nodes in bounded steps.

A page asks for so many jobs, and for so many bytes of bodies; where a node has to look at all its
jobs to find some, it does so for a moment, and the page says where to go on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydisque.client.client import Client
from pydisque.dead_letters import DeadLetter, Filed, filed
from pydisque.protocol.envelope import LONGEST_SHOWN, unwrap
from pydisque.protocol.replies import JobInfo, believed
from pydisque.protocol.validation import is_job_id

PAGE = 50
"""Jobs on a page."""

HEAVY = 4 * 1024 * 1024
"""Bytes of bodies after which a page has enough, though it has fewer jobs."""

BATCH = 10
"""Jobs asked for in one go: a body can be anything up to gigabytes."""

SCAN_SECONDS = 0.3
"""For which one page looks through the jobs of nodes."""

SMALLEST, LARGEST = 100, 10_000
"""How much work a step of that is."""

SCANNED = ("active", "acked", "wait-repl")
"""States of jobs that only a look at all jobs finds; ``queued`` ones are in their queue."""


class Story(NamedTuple):
    """All that is known of one job."""

    info: JobInfo
    """What to go by of what the nodes say."""
    copies: list[tuple[str, bytes]]
    """Each node that has one, and in which state."""
    headers: dict[str, Any]
    body: bytes
    size: int
    """Of the body, in bytes."""
    letter: DeadLetter | None
    """Its dead letter, if it is one; the body then is that of the job that died."""

    def without_body(self) -> Story:
        """The same with nothing that was in the body, or was made of it."""
        letter = None if self.letter is None else _bare(self.letter)
        return self._replace(info=_bodiless(self.info), headers={}, body=b"", letter=letter)


def _bare(letter: DeadLetter) -> DeadLetter:
    """Without errors and tracebacks, which quote bodies, and what is not what it should be."""
    return letter._replace(
        id=letter.id if is_job_id(letter.id) else "",
        error="",
        traceback="",
        at=letter.at if _is_time(letter.at) else "",
        body=b"",
        headers={},
    )


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _bodiless(info: JobInfo) -> JobInfo:
    fields = info.as_dict() | ({b"body": b""} if info.body else {})
    return JobInfo(part for field in fields.items() for part in field)


def story(clients: Sequence[Client], job_id: str) -> Story | None:
    """All that is known of a job; None: no node knows it."""
    asked = ((client, client.show(job_id)) for client in clients)
    found = [(_name(client), info) for client, info in asked if info is not None]
    info = believed(info for _, info in found)
    if info is None:
        return None
    whole = info.body or b""  # of one that is acknowledged a node may have nothing but the ID
    letter = DeadLetter.of_body(whole, LONGEST_SHOWN)
    body, headers = unwrap(whole, LONGEST_SHOWN)
    if letter is not None:
        body, headers = letter.body, dict(letter.headers)
    copies = [(name, each.state) for name, each in found]
    return Story(info, copies, headers, body, len(body), letter)


def _name(client: Client) -> str:
    node = client.connected_node
    return "" if node is None else f"{node.host}:{node.port}"


class Place(NamedTuple):
    """Where a look through jobs goes on: at which node, and where there."""

    node: int = 0
    cursor: bytes = b"0"

    def __str__(self) -> str:
        return f"{self.node}-{self.cursor.decode()}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read what `str` wrote; anything else is the beginning."""
        found = re.fullmatch(r"(\d{1,4})-(\d{1,20})", text, re.ASCII)
        if found is None or int(found[2]) >= 2**64:
            return cls()
        return cls(int(found[1]), found[2].encode())


class Listing(NamedTuple):
    """Some jobs, and where there are more."""

    jobs: list[JobInfo]
    unread: list[bytes]
    """IDs of more, whose bodies were too much together."""
    next: Place | None = None
    """None: these were the last."""
    incomplete: bool = False
    """Whether the next place is there for want of time, not of room."""

    def without_bodies(self) -> Listing:
        """The same jobs without what is in their bodies."""
        return self._replace(jobs=[_bodiless(info) for info in self.jobs])


def letters(listing: Listing, dead_queue: bytes, *, bodies: bool) -> list[Filed]:
    """The jobs of a queue of dead letters, read; without what is in bodies unless it is asked."""
    read = [filed(info.id, dead_queue, info.body, LONGEST_SHOWN) for info in listing.jobs]
    if bodies:
        return read
    return [
        each._replace(body=b"", letter=None if each.letter is None else _bare(each.letter))
        for each in read
    ]


def queued(clients: Sequence[Client], queue: bytes, *, newest: bool = False) -> Listing:
    """The first jobs of a queue, or its last."""
    ids = [job_id for client in clients for job_id in _peek(client, queue, newest=newest)]
    jobs, unread = _read(clients, ids, "queued")
    jobs.sort(key=lambda info: info.ctime, reverse=newest)
    return Listing(jobs[:PAGE], unread)


def _peek(client: Client, queue: bytes, *, newest: bool) -> list[bytes]:
    """IDs of a page of queued jobs; bodies come along, so few if the first ones are heavy."""
    sign = -1 if newest else 1
    first = client.qpeek(queue, sign * BATCH)
    heaviest = max((len(job.body) for job in first), default=0)
    if len(first) < BATCH or heaviest * BATCH > HEAVY:
        return [job.id for job in first]
    count = min(PAGE, HEAVY // max(heaviest, 1))
    return [job.id for job in client.qpeek(queue, sign * count)]


def scanned(clients: Sequence[Client], queue: bytes, state: str, place: Place) -> Listing:
    """Jobs of a queue in another state than queued, from some place on."""
    ids: list[bytes] = []
    until = time.monotonic() + SCAN_SECONDS
    count = SMALLEST
    node, cursor = place
    hurried = False
    while node < len(clients) and len(ids) < PAGE and not hurried:
        following, found = clients[node].jscan(cursor, count, queue=queue, state=state)
        if len(ids) + len(found) > 2 * PAGE and count > SMALLEST:
            count = SMALLEST  # too much for a page: once more, in small steps
            continue
        ids += found
        count = min(count * 2, LARGEST)
        node, cursor = (node, following) if int(following) else (node + 1, b"0")
        hurried = time.monotonic() > until
    more = Place(node, cursor) if node < len(clients) else None
    return Listing(*_read(clients, ids, state), more, incomplete=hurried)


def _read(
    clients: Sequence[Client], ids: Sequence[bytes], state: str
) -> tuple[list[JobInfo], list[bytes]]:
    """Those of these jobs that are in a state, and the IDs of those too heavy to be read."""
    jobs: list[JobInfo] = []
    weight = 0
    once = list(dict.fromkeys(ids))
    for at in range(0, len(once), BATCH):
        if weight > HEAVY:
            return jobs, once[at:]
        told = [_shown(client, once[at : at + BATCH]) for client in clients]
        for infos in zip(*told, strict=True):
            info = believed(infos)
            if info is not None:
                weight += len(info.body or b"") * len(clients)
                jobs += [info] if info.state == state.encode() else []
    return jobs, []


def _shown(client: Client, ids: Sequence[bytes]) -> list[JobInfo | None]:
    pipeline = client.pipeline()
    for job_id in ids:
        pipeline.show(job_id)
    return pipeline.execute()
