"""Workers for the tests, and what their handlers saw."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pydisque.client import Client
from pydisque.dead_letters import DeadLetter
from pydisque.worker import Worker
from support.servers import Deployment, serving, until

from . import handlers

server = serving("memory", "valkey-3", "disque", "disque-3")


class Note(NamedTuple):
    """One line a handler wrote."""

    id: str
    attempt: int
    process: int
    word: str


class Notes:
    """What the handlers of one test wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def all(self) -> list[Note]:
        lines = [line.split(" ") for line in self.path.read_text().splitlines()]
        return [Note(id_, int(attempt), int(pid), word) for id_, attempt, pid, word in lines]

    def begun(self, *ids: bytes) -> bool:
        seen = {note.id for note in self.all()}
        return all(id_.decode() in seen for id_ in ids)

    def attempts(self, id_: bytes) -> list[int]:
        return [n.attempt for n in self.all() if n.id == id_.decode() and not n.word]

    def words(self, id_: bytes) -> set[str]:
        return {note.word for note in self.all() if note.id == id_.decode()}


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    path = tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(path))
    return Notes(path)


@pytest.fixture
def sync_client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses) as client:
        yield client


@pytest.fixture
def make_worker(server: Deployment, queue: str) -> Iterator[Callable[..., Worker]]:
    """Makes and starts workers for the queue of this test; stops them in the end."""
    made: list[Worker] = []

    def make(executor: str = "threads", nodes: Any = None, **options: Any) -> Worker:
        names = ("concurrency", "queues", "strict", "grace", "prefetch", "hooks", "fast_ack")
        own = {name: options.pop(name) for name in names if name in options}
        function = options.pop(
            "function", handlers.awaited if executor == "asyncio" else handlers.plain
        )
        worker = Worker(nodes or server.addresses, executor=executor, **own)
        worker.handler(queue, **options)(function)
        worker.start()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.stop()
        worker.stop()
        worker.join(20)
    left = [t.name for t in threading.enumerate() if t.name == "pydisque-worker"]
    assert not left


def left(client: Client, queue: str) -> list[bytes]:
    """The jobs of a queue that are not acknowledged, on the node in use."""
    return list(client.iter_jobs(queue=queue))


def gone(client: Client, *queues: str) -> None:
    """Wait until no job of these queues is left."""
    until(lambda: not any(left(client, queue) for queue in queues), 30)


def letters(client: Client, queue: str, number: int = 1) -> list[DeadLetter]:
    """Wait for so many dead letters."""
    until(lambda: client.qlen(queue) == number, 30)
    found = [DeadLetter.of_body(job.body) for job in client.qpeek(queue, number)]
    assert all(found)
    return found  # type: ignore[return-value]
