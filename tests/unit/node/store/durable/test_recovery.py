"""What records leave behind once they are applied one after the other."""

from __future__ import annotations

from pydisque.node.engine.queue import Queue
from pydisque.node.store.durable.records import pack
from pydisque.node.store.durable.recovery import Replay


def test_a_queue_leaves_its_old_home():
    """A record is obsolete after a restart as before it, once its queue stands in a newer one."""
    state = Replay()
    for number in range(1, 4):
        state.apply(number, pack(1000, queues=[Queue(b"q", 1, 1000)]))
    assert state.homes.obsolete() == 3


def test_a_dropped_queue_leaves_its_home():
    """Nothing of a queue that was dropped keeps a record."""
    state = Replay()
    state.apply(1, pack(1000, queues=[Queue(b"q", 1, 1000)]))
    state.apply(2, pack(1000, dropped=[b"q"]))
    assert state.homes.obsolete() == 3
