"""What runs in a process of the executor `processes`: one job after the other.

Its pipe to the worker belongs to it alone: a forked child of a job reports nothing. Knows no node,
no lease and no limit; a job's outcome is an exception that the worker can unpickle.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.connection import Connection
from time import sleep
from types import FrameType
from typing import Any

from pydisque.worker.executors.loops import here
from pydisque.worker.handlers import forks
from pydisque.worker.handlers.handler import Dead, Drop, Retry
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.policy import RemoteError, said_by, text_of, trace_of

Functions = Mapping[bytes, tuple[Callable[[Any], Any], Callable[[bytes], Any]]]
"""By queue: its handler's function, and what decodes bodies for it."""

_HANDLED = (signal.SIGINT, signal.SIGTERM)

# Seconds that a process without a job gets to end once its worker is gone.
LAST_WORDS = 1.0


class _RemoteJob(WorkerJob):
    """A job in another process than the worker, which shares one byte with it."""

    __slots__ = ("_shared",)

    def __init__(self, shared: Any, *parts: Any) -> None:
        super().__init__(*parts)
        self._shared = shared

    @property
    def lease_lost(self) -> bool:
        return bool(self._shared.value)


def serve(pipe: Connection, lost: Any, functions: Functions) -> None:
    """Do jobs until the worker hangs up; what ends the worker gently does not end a job."""
    _become_leader(pipe)
    at_work = threading.Event()
    threading.Thread(
        target=_end_with_worker, args=(pipe.fileno(), at_work), name="pydisque-watch", daemon=True
    ).start()
    with contextlib.suppress(EOFError, OSError):
        pipe.send(True)
        while True:
            parts = pipe.recv()
            at_work.set()
            job = _RemoteJob(lost, *parts)
            function, job.decode = functions[job.name]
            error = _outcome(function, job)
            at_work.clear()
            pipe.send(error)
    here().close()


def _become_leader(pipe: Connection) -> None:
    """Lead a process group, with signals and rights as in a program of its own."""
    os.setpgid(0, 0)
    multiprocessing.current_process().daemon = False  # or a job could have no children
    # systemd and others send SIGTERM to all processes of a worker, whose jobs are to be finished.
    # Ignored signals would be ignored by the programs that a job starts; handled ones are not.
    for signum in _HANDLED:
        signal.signal(signum, _go_on)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.set_inheritable(pipe.fileno(), False)
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _HANDLED),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _HANDLED),
        after_in_child=partial(_in_forked_child, pipe),
    )


def _go_on(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by doing nothing."""


def _in_forked_child(pipe: Connection) -> None:
    """Leave the pipe to the job's process; signals that came meanwhile have their usual effect."""
    pipe.close()
    if signal.getsignal(signal.SIGINT) is _go_on:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is _go_on:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)


def _end_with_worker(fd: int, at_work: threading.Event) -> None:
    """Wait in a thread until the worker is gone, however it ended; then end the group."""
    poll = select.poll()
    poll.register(fd, 0)  # only the other side's end is reported
    poll.poll()
    if not at_work.is_set():
        sleep(LAST_WORDS)
    os.killpg(0, signal.SIGKILL)


def _outcome(function: Callable[[Any], Any], job: WorkerJob) -> Exception | None:
    """Do one job; the error as the worker can take it."""
    generation = forks.generation
    error: BaseException | None = None
    try:
        here().finish(function(job))
    except BaseException as raised:  # noqa: BLE001 - a job that exits ends itself alone
        error = raised
    if forks.generation != generation:
        forks.end_child(error)
    return None if error is None else _portable(error)


def _portable(error: BaseException) -> Exception:
    if isinstance(error, Retry):
        with contextlib.suppress(Exception):
            return Retry(None if error.in_seconds is None else float(error.in_seconds))
        return Retry()
    if isinstance(error, (Drop, Dead)):
        kind = Drop if isinstance(error, Drop) else Dead
        return kind(said_by(error))
    return RemoteError(text_of(error), trace_of(error))
