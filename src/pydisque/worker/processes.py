"""Jobs in processes of their own: for work that keeps the processor busy, or may crash it.

A thread of the worker stands for each process: it hands over a job, waits for the end of it, or of
the process, and starts another process when need be. A process runs one job at a time and then
asks for the next, so it may keep what is costly to load.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import RawValue
from typing import Any

from pydisque.worker.executor import Report
from pydisque.worker.handler import Dead, Drop, Handler, Retry
from pydisque.worker.hooks import Course
from pydisque.worker.job import WorkerJob
from pydisque.worker.threads import Threads
from pydisque.worker.verdict import DiedError, RemoteError, text_of, trace_of

# A process begins with a fresh interpreter: it shares no lock, no socket and no thread with this.
_FRESH = multiprocessing.get_context("spawn")

# Whoever starts a process asks after all others that there are, and two who ask after the same at
# once may both be told nothing. So this is held wherever the end of one is asked for.
_asking = threading.Lock()


Functions = Mapping[bytes, tuple[Callable[[Any], Any], Callable[[bytes], Any]]]
"""By queue: its handler's function, and what decodes bodies for it."""


class Processes(Threads):
    """So many processes, and for each the thread that stands for it."""

    def __init__(self, course: Course, concurrency: int) -> None:
        super().__init__(course, concurrency)
        self._run = partial(course.run, call=self._call)
        self._functions = {n: (h.function, h.decode) for n, h in course.handlers.items()}
        check(self._functions)
        self._own = threading.local()
        self._children: dict[WorkerJob, _Child] = {}
        self._cutting = False

    def lose(self, job: WorkerJob) -> None:
        """Let the job's process know."""
        child = self._children.get(job)
        if child is not None:
            child.lost.value = 1

    def cut_short(self) -> None:
        """Kill the processes that are at work."""
        self._cutting = True
        for child in list(self._children.values()):
            child.kill()

    def _work(self, report: Report) -> None:
        self._own.child = _Child(self._functions)
        try:
            super()._work(report)
        finally:
            self._own.child.close()

    def _call(self, handler: Handler, job: WorkerJob) -> None:
        child: _Child = self._own.child
        self._children[job] = child
        try:
            child.call(job, handler.timeout)
        except (DiedError, TimeoutError):
            if not self._cutting:
                self._own.child = _Child(self._functions)
                child.close()
            raise
        finally:
            del self._children[job]


def check(functions: Functions) -> None:
    """Find out whether another process can be told of these functions.

    Raises:
        ValueError: It cannot; the text names the function.
    """
    for function in chain.from_iterable(functions.values()):
        try:
            pickle.dumps(function)
        except Exception as error:  # noqa: BLE001 - pickle raises what it likes
            raise ValueError(
                'executor="processes" needs handlers at the top level of a module, where another '
                f"process finds them by name; {function!r} is not: {error}"
            ) from None


class _Child:
    """A process, from the side of the thread that stands for it."""

    def __init__(self, functions: Functions) -> None:
        self.lost: Any = RawValue("b", 0)
        self._pipe, theirs = _FRESH.Pipe()
        self._process = _FRESH.Process(
            target=_serve, args=(theirs, self.lost, functions), name="pydisque-job", daemon=True
        )
        with _asking:
            self._process.start()
        self._is_up = False
        theirs.close()

    def call(self, job: WorkerJob, timeout: float | None) -> None:
        """Have the job done; raises what its handler raised.

        Raises:
            DiedError: The process ended first.
            TimeoutError: The time was up; the process is dead.
        """
        self.lost.value = job.lost
        try:
            self._wait_until_up()
            self._pipe.send(job.parts())
            error = self._pipe.recv() if self._pipe.poll(timeout) else self._late(timeout)
        except (EOFError, OSError) as gone:
            raise DiedError(self._epitaph()) from gone
        if error is not None:
            raise error

    def _wait_until_up(self) -> None:
        """What a process needs to begin is not taken from its first job's time."""
        if not self._is_up:
            self._is_up = self._pipe.recv()

    def _late(self, timeout: float | None) -> TimeoutError:
        self.kill()
        return TimeoutError(f"the job took longer than {timeout:g} s")

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """Let the process end; it does when it has no more to hear."""
        self._pipe.close()
        wait([self._process.sentinel], timeout=1)
        with _asking:
            if self._process.is_alive():
                self._process.kill()
            self._process.join()
            self._process.close()

    def _epitaph(self) -> str:
        wait([self._process.sentinel], timeout=5)
        with _asking:
            self._process.join(1)  # it is going, or gone
            code = self._process.exitcode
        if code is None:
            return "the job's process hung up"
        with contextlib.suppress(ValueError):
            return f"the job's process was ended by {signal.Signals(-code).name}"
        return f"the job's process ended with exit code {code}"


# In the process


class _RemoteJob(WorkerJob):
    """A job in another process than the worker, which shares one byte with it."""

    __slots__ = ("_shared",)

    def __init__(self, shared: Any, headers: dict[str, Any], *parts: Any) -> None:
        super().__init__(*parts)
        self._headers = headers
        self._shared = shared

    @property
    def lease_lost(self) -> bool:
        return bool(self._shared.value)


def _serve(pipe: Connection, lost: Any, functions: Functions) -> None:
    """Do jobs until the worker hangs up; what ends the worker gently does not end a job."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    with asyncio.Runner() as runner:
        pipe.send(True)
        while True:
            try:
                headers, *parts = pipe.recv()
            except (EOFError, OSError):
                return
            job = _RemoteJob(lost, headers, *parts)
            function, job.decode = functions[job.name]
            pipe.send(_outcome(runner, function, job))


def _outcome(
    runner: asyncio.Runner, function: Callable[[Any], Any], job: WorkerJob
) -> Exception | None:
    """Do one job; the error as the worker can take it."""
    try:
        result = function(job)
        if asyncio.iscoroutine(result):
            runner.run(result)
    except Retry as asked:
        return Retry(asked.in_seconds)
    except (Drop, Dead) as asked:
        kind = Drop if isinstance(asked, Drop) else Dead
        return kind(str(asked))
    except BaseException as error:  # noqa: BLE001 - a job that exits ends itself alone
        return RemoteError(text_of(error), trace_of(error))
    return None
