"""The clients of a run, each in a thread of its own, and what they share. Knows no server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from random import Random

from harness.chaos.history import History


class Crowd:
    """What all clients of a run share."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.producing = True
        self.working = True
        self.draining = False
        """Whoever gets jobs acknowledges all of them."""
        self.failures: list[BaseException] = []

    def check(self) -> None:
        """Raise what ended a client that was not to end."""
        for failure in self.failures:
            raise failure

    @contextlib.contextmanager
    def at_work(self, members: Sequence[Member]) -> Iterator[None]:
        """Let them work, until all has been done."""
        for member in members:
            member.start()
        try:
            yield
        finally:
            self.producing = self.working = False
            for member in members:
                member.join()
        self.check()


class Member:
    """One thread that does something again and again."""

    def __init__(self, crowd: Crowd, name: str, seed: str) -> None:
        self.name = name
        self.random = Random(seed)
        self._crowd = crowd
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until it has done its work."""
        self._thread.join(60)
        assert not self._thread.is_alive(), f"{self.name} does not end"

    def wanted(self) -> bool:
        """Whether it is to go on."""
        raise NotImplementedError

    def work(self) -> None:
        """Do what it is to do, as long as it is wanted."""
        raise NotImplementedError

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - whoever let it work raises it
            self._crowd.failures.append(error)
