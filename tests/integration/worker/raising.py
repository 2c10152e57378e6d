"""Handlers that raise what and where their job's body says; another process finds them here."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import Any

from pydisque.worker import Hook, WorkerJob


class OwnBaseError(BaseException):
    """An exception of an app that is no `Exception`."""


class UnreadableError(Exception):
    """An exception that cannot even be told."""

    def __str__(self) -> str:
        raise SystemExit(4)


KINDS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("a\ntext"),
    "SystemExit": lambda: SystemExit(0),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration(3),
    "StopAsyncIteration": StopAsyncIteration,
    "CancelledError": asyncio.CancelledError,
    "OwnBaseError": OwnBaseError,
    "UnreadableError": UnreadableError,
    "ExceptionGroup": lambda: ExceptionGroup("all", [ValueError(), KeyError()]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("all", [SystemExit(1), KeyboardInterrupt()]),
}


def told(job: WorkerJob) -> tuple[str, str]:
    """Where to raise, and what."""
    place, kind = json.loads(job.body)
    return place, kind


def fail(kind: str) -> Any:
    """Raise it."""
    raise KINDS[kind]()  # noqa: RSE102 - it makes one


def decode(body: bytes) -> None:
    """Raise it where a body is decoded."""
    fail(json.loads(body)[1])


def plain(job: WorkerJob) -> None:
    place, kind = told(job)
    if place == "handler":
        fail(kind)
    elif place == "decode":
        _ = job.value
    elif place == "error":
        raise ValueError("of the handler")


async def awaited(job: WorkerJob) -> None:  # noqa: C901 - a case for each place
    place, kind = told(job)
    if place == "sub-task":
        await asyncio.gather(_fail(kind), asyncio.sleep(0.1))
    elif place == "task group":
        async with asyncio.TaskGroup() as group:
            group.create_task(_fail(kind))
    elif place == "task that is left":
        task = asyncio.create_task(_fail(kind))
        await asyncio.sleep(5)
        del task
    elif place == "generator":
        async for _ in _generate(kind):
            pass
    elif place == "thread":
        await asyncio.to_thread(fail, kind)
    elif place == "callback":
        asyncio.get_running_loop().call_soon(fail, kind)
        await asyncio.sleep(5)
    elif place == "callback at the end":
        asyncio.get_running_loop().call_soon(fail, kind)
    elif place == "timer":
        asyncio.get_running_loop().call_later(0.01, fail, kind)
        await asyncio.sleep(5)
    elif place == "stopped loop":
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        fail(kind)
    else:
        await asyncio.sleep(0)
        plain(job)


def returning(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator such as many: its plain function returns a coroutine."""

    @functools.wraps(function)
    def call(job: WorkerJob) -> Any:
        return function(job)

    return call


@returning
async def wrapped(job: WorkerJob) -> None:
    await awaited(job)


async def _fail(kind: str) -> None:
    await asyncio.sleep(0)
    fail(kind)


async def _generate(kind: str) -> Any:
    yield 1
    await asyncio.sleep(0)
    fail(kind)


class RaisingHook(Hook):
    """Raises where the body says."""

    def before(self, job: WorkerJob) -> None:
        self._at("before", job)

    def after(self, job: WorkerJob, seconds: float) -> None:
        self._at("after", job)

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        self._at("error", job)

    def _at(self, here: str, job: WorkerJob) -> None:
        place, kind = told(job)
        if place == here:
            fail(kind)
