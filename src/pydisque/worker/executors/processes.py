"""Jobs in processes of their own: for work that keeps the processor busy, or may crash it.

A thread of the worker stands for each process: it hands over a job, waits for the end of it, or of
the process, and starts another process when need be. A process runs one job at a time and then
asks for the next, so it may keep what is costly to load. It leads a process group, which is killed
as a whole: what a job has started ends with the job's process, and that with the worker.
`job_process` is what runs in it.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from itertools import chain
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import RawValue
from typing import Any

from pydisque.worker.executors.base import Report
from pydisque.worker.executors.job_process import Functions, serve
from pydisque.worker.executors.threads import Threads
from pydisque.worker.handlers.handler import Handler
from pydisque.worker.handlers.hooks import Course
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.policy import DiedError

# A process begins with a fresh interpreter: it shares no lock, no socket and no thread with this.
_FRESH = multiprocessing.get_context("spawn")

# Whoever starts a process asks after all others that there are, and two who ask after the same at
# once may both be told nothing. So this is held wherever the end of one is asked for.
_asking = threading.Lock()


class Processes(Threads):
    """So many processes, and for each the thread that stands for it."""

    def __init__(self, course: Course, concurrency: int) -> None:
        super().__init__(course, concurrency)
        self._functions = {n: (h.function, h.decode) for n, h in course.handlers.items()}
        check(self._functions)
        self._next_job = self._next_with_process
        self._own = threading.local()
        self._processes: set[_Child] = set()
        self._children: dict[WorkerJob, _Child] = {}
        self._cutting = False

    def start(self, report: Report) -> None:
        """Start the threads, each of which starts its process."""
        # At exit multiprocessing waits for processes, and they for this one.
        atexit.register(self._kill_all)
        super().start(report)

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

    def _kill_all(self) -> None:
        self._cutting = True
        self.take_back()
        for child in list(self._processes):
            child.kill()

    def _work(self, report: Report) -> None:
        self._own.child = None
        try:
            super()._work(report)
        finally:
            self._close_own()
            if not self._processes:
                atexit.unregister(self._kill_all)

    def _next_with_process(self) -> WorkerJob | None:
        """A failure here is the executor's, and no job's."""
        if self._cutting:
            return None
        if self._own.child is None:
            self._own.child = _Child(self._functions)
            self._processes.add(self._own.child)
        return self._waiting.get()

    def _call(self, handler: Handler, job: WorkerJob) -> None:
        child: _Child = self._own.child
        self._children[job] = child
        try:
            error = child.call(job, handler.timeout)
        except BaseException:  # whatever it was, the process may not be ready for another job
            self._close_own()
            raise
        finally:
            del self._children[job]
        if error is not None:
            raise error

    def _close_own(self) -> None:
        child, self._own.child = self._own.child, None
        if child is not None:
            child.close()
            self._processes.discard(child)


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
            target=serve, args=(theirs, self.lost, functions), name="pydisque-job", daemon=True
        )
        with _asking:
            self._process.start()
        self._is_up = False
        theirs.close()

    def call(self, job: WorkerJob, timeout: float | None) -> Exception | None:
        """Have the job done; what its handler raised.

        Raises:
            DiedError: The process ended first.
            TimeoutError: The time was up; the process is dead.
        """
        self.lost.value = job.lost
        error: Exception | None = None
        try:
            self._wait_until_up()
            self._pipe.send(job.parts())
            in_time = self._pipe.poll(timeout)
            if in_time:
                error = self._pipe.recv()
        except (EOFError, OSError) as gone:
            raise DiedError(self._epitaph()) from gone
        if not in_time:
            self.kill()
            raise TimeoutError(f"the job took longer than {timeout:g} s")
        return error

    def _wait_until_up(self) -> None:
        """What a process needs to begin is not taken from its first job's time."""
        if not self._is_up:
            self._is_up = self._pipe.recv()

    def kill(self) -> None:
        """End the process and its children at once."""
        with contextlib.suppress(ValueError):  # it is closed: another thread was quicker
            self._kill_group()
            self._process.kill()

    def _kill_group(self) -> None:
        # Its number is the process's, and is not given to another while the group has a member.
        if self._process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let the process end; it does when it has no more to hear. What it leaves is killed."""
        self._pipe.close()
        wait([self._process.sentinel], timeout=1)
        with _asking:
            self.kill()
            self._process.join()
            with contextlib.suppress(ValueError):  # its end is unknown where SIGCHLD is ignored
                self._process.close()

    def _epitaph(self) -> str:
        wait([self._process.sentinel], timeout=1)
        self._kill_group()  # children may hold open what tells of its end
        with _asking:
            self._process.join(1)  # it is going, or gone
            code = self._process.exitcode
        if code is None:
            return "the job's process hung up"
        with contextlib.suppress(ValueError):
            return f"the job's process was ended by {signal.Signals(-code).name}"
        return f"the job's process ended with exit code {code}"
