"""What clients take in all is bounded, and to know that costs little."""

from __future__ import annotations

import pytest

from pydisque.node.config.parameters import Config
from pydisque.node.state.output_limits import Backlog


class Client:
    """A client that takes so many bytes."""

    def __init__(self, memory: int, unread: int = 0) -> None:
        self.address = b"client"
        self.taken, self.unread = memory, unread
        self.looked_at = 0
        self.aborted = False

    def buffers(self) -> tuple[int, int]:
        return self.taken, self.unread

    def memory(self) -> int:
        self.looked_at += 1
        return self.taken

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(Config(client_memory="1000000"))


def test_the_greediest_goes(backlog: Backlog) -> None:
    """When it is too much in all, the client with the most is hung up on, and no other."""
    small, large, last = Client(200_000), Client(500_000), Client(400_000)
    for client in (small, large, last):
        backlog.note(client, 0)
    assert [client.aborted for client in (small, large, last)] == [False, True, False]
    assert backlog.cut_off == 1


def test_what_is_gone_counts_no_more(backlog: Backlog) -> None:
    """Nobody is hung up on for what a client took before, or took that has left."""
    first, second, third = Client(900_000), Client(900_000), Client(900_000)
    backlog.note(first, 0)
    first.taken = 0  # the client has read, and nobody has looked since
    backlog.note(second, 0)
    backlog.forget(second)
    backlog.note(third, 0)
    assert not any(client.aborted for client in (first, second, third))


def test_a_note_looks_at_one_client(backlog: Backlog) -> None:
    """With many clients that take a little each, a note of one costs no look at the others."""
    clients = [Client(70) for _ in range(1000)]
    for client in clients:
        backlog.note(client, 0)
        backlog.note(client, 0)
    assert {client.looked_at for client in clients} == {2}


def test_growth_that_nobody_noted_is_seen_within_a_second(backlog: Backlog) -> None:
    """The housekeeping of each second looks at all that were noted."""
    client = Client(100_000)
    backlog.note(client, 0)
    client.taken = 2_000_000
    backlog.every_second(1000)
    assert client.aborted
