"""An engine whose time, job IDs and jitter a test decides."""

from __future__ import annotations

from itertools import count

from pydisque.node.engine.engine import Engine
from pydisque.node.engine.job import JobState
from pydisque.node.engine.queue import QueueState

START = 1_800_000_000_000
"""When every engine starts: a whole second."""

NODE_ID = b"0123456789abcdef0123456789abcdef01234567"


def new_engine(jitter: int = 0) -> Engine:
    """An empty engine at `START`; its IDs count up, its retry times are longer by `jitter` ms."""
    serials = (b"%024d" % n for n in count())
    return Engine(NODE_ID, START, serials=lambda: [next(serials)], jitter=lambda: jitter)


def later(engine: Engine, seconds: float) -> None:
    """Let time pass in one leap."""
    engine.advance(engine.now + round(seconds * 1000))


def shown(engine: Engine, id_: bytes) -> JobState:
    """What SHOW tells of a job that must be there."""
    state = engine.show(id_)
    assert state is not None
    return state


def figures(engine: Engine, name: bytes) -> QueueState:
    """What QSTAT tells of a queue that must be there."""
    state = engine.stat(name)
    assert state is not None
    return state
