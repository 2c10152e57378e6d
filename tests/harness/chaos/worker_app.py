"""A worker as the chaos runs start it, in a process of its own: `python -m chaos.worker_app`.

Its handlers do what their bodies say and write down when they begin and end, each line with one
write, so that it is whole whatever happens next.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from harness.chaos.worker_history import DEADLY_LIMIT
from pydisque.worker import Backoff, Hook, Retry, Worker, WorkerJob
from pydisque.worker.executors.base import ExecutorError

T = TypeVar("T")

CONFIG = "PYDISQUE_CHAOS_WORKER"
"""The environment variable with the settings, which children inherit."""

ROOM = 48 << 20
"""Bytes of address space that a process gets beyond what it has, once a job eats memory."""

EXECUTOR_FAILED = 4
"""The exit code of a worker whose executor failed."""

ENDS = (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError)
"""What has ended executors."""

NO_JOB = "no job"
"""What breaks an executor that takes it."""

_settings: dict[str, Any] = json.loads(os.environ.get(CONFIG, "{}"))
_numbers = itertools.count()
_log = os.open(_settings["log"], os.O_WRONLY | os.O_APPEND) if _settings else -1


def _patiently(function: Callable[[], T]) -> T:
    """Another job may have taken all memory for a moment."""
    while True:
        try:
            return function()
        except MemoryError:
            time.sleep(0.01)


def _begin(job: WorkerJob) -> tuple[str, dict[str, Any]]:
    token = f"{os.getpid()}.{next(_numbers)}"
    task = job.json()
    words = (
        "B", token, task["name"], job.id, job.nacks, job.additional_deliveries, os.getpid(),
        _settings["worker"], time.monotonic(),
    )  # fmt: skip
    os.write(_log, (" ".join(map(str, words)) + "\n").encode())
    return token, task


def _end(token: str, outcome: str) -> None:
    _patiently(lambda: os.write(_log, f"E {token} {outcome} {time.monotonic()}\n".encode()))


def work(job: WorkerJob) -> None:
    """Do what the body says."""
    token, task = _patiently(lambda: _begin(job))
    if _exits(job):
        _end(token, "failed")
        if job.nacks % 2:
            return  # the hook raises
        raise ENDS[sum(job.key) % len(ENDS)]
    try:
        _misbehave(job, task)
        time.sleep(task["sleep"])
        _fail(job, task)
    except BaseException:
        _end(token, "failed")
        raise
    _end(token, "done")


async def work_async(job: WorkerJob) -> None:
    """The same, as a coroutine."""
    token, task = _patiently(lambda: _begin(job))
    if _exits(job):
        _end(token, "failed")
        await _exit(job)
        return
    try:
        _misbehave(job, task)
        await asyncio.sleep(task["sleep"])
        _fail(job, task)
    except asyncio.CancelledError:
        _end(token, "cancelled")
        raise
    except BaseException:
        _end(token, "failed")
        raise
    _end(token, "done")


def _exits(job: WorkerJob) -> bool:
    """Whether it is to end what runs it, in the handler or in a hook."""
    task = job.json()
    return task["deed"] == "exit" and job.nacks + job.additional_deliveries < task["deaths"]


async def _exit(job: WorkerJob) -> None:
    """Raise what has ended executors, where it did."""
    loop, (number, kind) = asyncio.get_running_loop(), divmod(sum(job.key), 4)
    if kind == 0:
        loop.call_soon(sys.exit)
    elif kind == 1:
        loop.stop()
        raise ENDS[number % len(ENDS)]
    elif kind == 2:
        await asyncio.gather(asyncio.to_thread(sys.exit), asyncio.sleep(0.1))
    else:
        await asyncio.gather(_raise_exit(), asyncio.sleep(0.1))


async def _raise_exit() -> None:
    sys.exit()


class ExitHook(Hook):
    """Raises what has ended executors after a job, and once more when the job has failed."""

    def after(self, job: WorkerJob, seconds: float) -> None:
        self._exit(job)

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        self._exit(job)

    def _exit(self, job: WorkerJob) -> None:
        if _exits(job):
            raise ENDS[(sum(job.key) + 1) % len(ENDS)]


def break_executor(worker: Worker) -> None:
    """Have the executor fail at its next job, as by a bug in what begins jobs."""
    executor: Any = worker._core._executor  # type: ignore[union-attr]
    if _settings["executor"] == "asyncio":
        executor._context = None
        return
    take_back = executor.take_back

    def take_back_jobs() -> list[WorkerJob]:
        jobs: list[Any] = take_back()
        if NO_JOB in jobs:  # stays for the executor: the worker could not return it
            jobs.remove(NO_JOB)
            executor._waiting.put(NO_JOB)
        return jobs

    executor.take_back = take_back_jobs
    executor._waiting.put(NO_JOB)


def _fail(job: WorkerJob, task: dict[str, Any]) -> None:
    if job.nacks < task["fails"]:
        if task["fails"] % 2:
            raise Retry(in_seconds=0)
        raise ValueError("as the body says")


def _misbehave(job: WorkerJob, task: dict[str, Any]) -> None:
    if job.nacks + job.additional_deliveries >= task["deaths"]:
        return
    if task["deed"] == "segv":
        ctypes.string_at(0)
    if task["deed"] == "oom":
        _eat_memory()


def _eat_memory() -> None:
    """Take all there is and hold it for a moment, as one does who never looks at MemoryError."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, hard))
    eaten: Any = None
    for size in (1 << 20, 1 << 16, 1 << 12, 1 << 9, 1 << 6, 1):
        try:
            while True:
                eaten = eaten, bytearray(size)  # a list would need much at once to grow
        except MemoryError:
            time.sleep(0.03)
    while eaten:  # one by one, as letting go of the first would recurse through all
        eaten = eaten[0]
    raise MemoryError


def make() -> Worker:
    """The worker of these settings."""
    executor = _settings["executor"]
    function = work_async if executor == "asyncio" else work
    worker = Worker(
        _settings["nodes"],
        executor=executor,
        concurrency=_settings["concurrency"],
        grace=_settings["grace"],
        hooks=[ExitHook()],
    )
    worker.handler(
        "work", max_additional_deliveries=_settings["deliveries"], backoff=Backoff(0.5, 2)
    )(function)
    worker.handler(
        "deadly",
        max_attempts=DEADLY_LIMIT + 1,
        max_additional_deliveries=DEADLY_LIMIT,
        backoff=Backoff(0.5, 2),
    )(function)
    return worker


def main() -> None:
    """Work until told to end; exit code 3 when jobs were cut short, 4 when the executor failed."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s",
    )
    logging.getLogger("pydisque.worker").addFilter(
        lambda r: not r.exc_info or "attempt" not in r.msg
    )
    _settings["worker"] = os.getpid()
    os.environ[CONFIG] = json.dumps(_settings)
    worker = make()
    signal.signal(signal.SIGUSR1, lambda *_: break_executor(worker))
    try:
        cut = worker.run()
    except ExecutorError as error:
        logging.getLogger(__name__).warning("ends, as %s", error)
        sys.exit(EXECUTOR_FAILED)
    logging.getLogger(__name__).warning("ends, %d cut short", cut)
    sys.exit(3 if cut else 0)


if __name__ == "__main__":
    main()
