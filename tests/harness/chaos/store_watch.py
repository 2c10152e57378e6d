"""Whether all nodes serve as they should, asked of each by itself; and what they take."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import NamedTuple

import hiredis

from support.resp_peer import Peer
from support.servers import NodeProcess

PATIENCE = 1.5
"""Seconds in which a node has to answer that serves."""
ROUNDS = 4
"""Queues, each most likely in a shard of its own, by which nodes are tried."""


class Unwell(Exception):  # noqa: N818 - what it is
    """Some node does not serve as it should; the text says how."""


class Probe:
    """Clients who try whether what is added at one node comes to one who waits at another."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses
        self.last = ""
        """What was wrong when it was looked last."""

    def well(self) -> bool:
        """Whether it comes, and can be acknowledged, at each node."""
        try:
            with contextlib.ExitStack() as stack:
                peers = [stack.enter_context(_peer(address)) for address in self._addresses]
                for _ in range(ROUNDS):
                    for at, peer in enumerate(peers):
                        _try(peers[at - 1], peer)
        except (OSError, EOFError, Unwell) as error:
            self.last = f"{type(error).__name__} {error}"
            return False
        self.last = ""
        return True


def _peer(address: str) -> Peer:
    peer = Peer(address)
    peer.sock.settimeout(PATIENCE)
    return peer


def _try(adding: Peer, waiting: Peer) -> None:
    queue = f"probe-{uuid.uuid4().hex[:8]}"
    waiting.send("GETJOB", "TIMEOUT", 1000, "FROM", queue)
    id_ = _fine(adding.ask("ADDJOB", queue, "probe", 1000, "RETRY", 5, "TTL", 20))
    got = _fine(waiting.read())
    if not got or got[0][1] != id_:
        raise Unwell(f"added {id_!r}, came {got!r}")
    if _fine(waiting.ask("ACKJOB", id_)) != 1:
        raise Unwell(f"{id_!r} cannot be acknowledged")


def _fine(reply: object) -> object:
    if isinstance(reply, hiredis.ReplyError):
        raise Unwell(str(reply))
    return reply


class Sample(NamedTuple):
    """What a node takes."""

    pid: int
    files: int
    """Descriptors that are not its clients'."""
    memory: int
    """KiB."""


def sample(node: NodeProcess) -> Sample:
    """Look at a node that serves."""
    told = node.ask("INFO", "clients").decode()
    clients = int(told.partition("connected_clients:")[2].split()[0])
    files = len(list(Path(f"/proc/{node.pid}/fd").iterdir()))
    status = Path(f"/proc/{node.pid}/status").read_text()
    memory = int(status.partition("VmRSS:")[2].split()[0])
    return Sample(node.pid, files - clients, memory)


def growth(samples: list[Sample]) -> tuple[int, int]:
    """By how many descriptors and how many KiB the process grew that grew most."""
    first: dict[int, Sample] = {}
    files = memory = 0
    for one in samples:
        before = first.setdefault(one.pid, one)
        files = max(files, one.files - before.files)
        memory = max(memory, one.memory - before.memory)
    return files, memory
