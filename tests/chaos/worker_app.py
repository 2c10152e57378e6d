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
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from chaos.worker_history import DEADLY_LIMIT
from pydisque.worker import Backoff, Retry, Worker, WorkerJob

T = TypeVar("T")

CONFIG = "PYDISQUE_CHAOS_WORKER"
"""The environment variable with the settings, which children inherit."""

ROOM = 48 << 20
"""Bytes of address space that a process gets beyond what it has, once a job eats memory."""

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
    """Work until told to end; exit code 3 when jobs were cut short."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s",
    )
    logging.getLogger("pydisque.worker").addFilter(
        lambda r: not r.exc_info or "attempt" not in r.msg
    )
    _settings["worker"] = os.getpid()
    os.environ[CONFIG] = json.dumps(_settings)
    cut = make().run()
    logging.getLogger(__name__).warning("ends, %d cut short", cut)
    sys.exit(3 if cut else 0)


if __name__ == "__main__":
    main()
