"""How messages reach a hub of kombu's."""

from __future__ import annotations

import select
from types import SimpleNamespace

from kombu import Connection

from pydisque.adapters.kombu.consumer import Bell
from pydisque.adapters.kombu.transport import Transport


class LateBell(Bell):
    """One during whose hush the engine puts in some messages, and finds that it rings."""

    def hush(self):
        self._hears.recv(4096)
        self.meanwhile()
        self._rang = False


def rings(bell):
    return bool(select.select([bell], [], [], 0)[0])


def test_messages_that_come_during_the_hush_all_reach_the_hub():
    """No more come while a channel has as many as it may, so none of these may lie unheard."""
    bell, waiting, passed = LateBell(), [], []

    def meanwhile():
        waiting.extend([1, 2, 3] if not passed else [])
        bell.ring()

    def pass_on():
        passed.extend(waiting[:1])
        return bool(waiting and waiting.pop(0))

    bell.meanwhile = meanwhile
    transport = Transport(Connection("memory://"))
    transport._engine = SimpleNamespace(bell=bell)
    transport.channels.append(SimpleNamespace(pass_on=pass_on))
    bell.ring()
    for _ in range(5):
        if rings(bell):
            transport.on_readable(None, None)
    assert passed == [1, 2, 3]
    bell.close()
