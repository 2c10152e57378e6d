"""Jobs outlive the node: what a node with a data directory knows again after it ended, however."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pydisque.node import Server
from support.resp_peer import Peer, clients, error, pack, wait_for_blocked
from support.servers import until


@pytest.mark.parametrize("durability", ["always", "everysec", "none"])
def test_a_restart_gives_everything_back(tmp_path: Path, durability: str) -> None:
    """Queued jobs come back queued and in order, delivered, delayed and acknowledged ones as such,
    pauses and the node's ID as well."""
    with Server(data=tmp_path, durability=durability) as server, Peer(server.address) as peer:
        ids = [peer.ask("ADDJOB", "q", f"body {n}", 0) for n in range(5)]
        delayed = peer.ask("ADDJOB", "q", "later", 0, "DELAY", 100)
        once = peer.ask("ADDJOB", "once", "x", 0, "RETRY", 0)
        assert peer.ask("GETJOB", "FROM", "once")
        assert [job[1] for job in peer.ask("GETJOB", "COUNT", 2, "FROM", "q")] == ids[:2]
        assert peer.ask("ACKJOB", ids[0]) == 1
        assert peer.ask("NACK", ids[1]) == 1
        assert peer.ask("PAUSE", "p", "in") == b"in"
        myself = peer.ask("CLUSTER", "MYID")
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        assert peer.ask("CLUSTER", "MYID") == myself
        assert [job[1] for job in peer.ask("QPEEK", "q", 9)] == ids[1:]
        shown = peer.ask("SHOW", ids[1])
        assert shown[shown.index(b"nacks") + 1] == 1
        shown = peer.ask("SHOW", delayed)
        assert shown[shown.index(b"state") + 1] == b"active"
        assert 90_000 < shown[shown.index(b"next-requeue-within") + 1] <= 100_000
        assert peer.ask("SHOW", ids[0]) is None
        assert peer.ask("ENQUEUE", once) == 0
        assert peer.ask("QLEN", "once") == 0
        assert error(peer.ask("ADDJOB", "p", "x", 0)).startswith("PAUSED")


def test_a_second_node_on_the_same_directory_does_not_start(tmp_path: Path) -> None:
    """A data directory belongs to one node at a time; the other says who has it."""
    with Server(data=tmp_path) as first, Peer(first.address) as peer:
        with pytest.raises(OSError, match=r"in use by process \d+"), Server(data=tmp_path):
            pass
        assert peer.ask("PING") == b"PONG"


def test_a_stop_answers_what_is_in_hand(tmp_path: Path) -> None:
    """All that a node has read when it is told to stop is done, kept and answered."""
    line, count = pack("ADDJOB", "q", "x", 0), 1300  # as much as is read ahead
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        peer.send("GETJOB", "FROM", "gate")
        with Peer(server.address) as other:
            wait_for_blocked(other, "gate", 1)
            peer.raw(line * count)
            until(lambda: int(clients(other)[0]["qbuf"]) == count * len(line))
            other.ask("ADDJOB", "gate", "x", 0)
        server.close()
        answers = sum(line[:3] == b"+D-" for line in peer.rest().split(b"\r\n"))
    assert answers == count
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        assert peer.ask("QLEN", "q") == count


def damage(file: Path, sql: str, *values: object) -> None:
    """Change the rows of a journal that nobody uses."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        assert db.execute(sql, values).rowcount == 1


def test_a_damaged_record_keeps_the_node_from_starting(tmp_path: Path) -> None:
    """A journal that is not as it was written is told with what helps, and let go of at once."""
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        peer.ask("ADDJOB", "q", "body", 0)
    damage(tmp_path / "journal.db", "UPDATE record SET data = ? WHERE number = 1", b"\x00" * 99)
    told = r"record 1: .*`pydisque check`"
    with pytest.raises(OSError, match=told) as failure, Server(data=tmp_path):
        pass
    assert failure.tb is not None  # it holds on to all that was in hand when it was raised
    assert {file.name for file in tmp_path.iterdir()} == {"journal.db", "lock"}


@pytest.mark.parametrize("page", [1, 3, 4])
def test_a_damaged_page_keeps_the_node_from_starting(tmp_path: Path, page: int) -> None:
    """So is a page that SQLite cannot read, be it of records, of the node's ID or the first."""
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        peer.ask("ADDJOB", "q", "body", 0)
    with (tmp_path / "journal.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        assert file.write(b"\x55" * 4096)
    told = r"the journal is damaged: .*`pydisque dump --skip-damaged`"
    with pytest.raises(OSError, match=told), Server(data=tmp_path):
        pass
