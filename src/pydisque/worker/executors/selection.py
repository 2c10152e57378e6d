"""Which executor a worker has, by its name or by what its handlers need."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Literal

from pydisque.worker.executors.base import Executor
from pydisque.worker.handlers.handler import Handler
from pydisque.worker.handlers.hooks import Course

ExecutorName = Literal["threads", "asyncio", "processes"]

# Loaded when chosen: multiprocessing and the like are not for everybody.
_CLASSES = {"threads": "Threads", "asyncio": "Tasks", "processes": "Processes"}
_MODULES = {"threads": "threads", "asyncio": "asyncio_tasks", "processes": "processes"}
EXECUTORS = tuple(_CLASSES)


def name_for(name: ExecutorName | None, handlers: Iterable[Handler]) -> ExecutorName:
    """The name that was given, or that of what these handlers need."""
    if name is not None:
        return name
    return "asyncio" if any(handler.is_async for handler in handlers) else "threads"


def choose(name: ExecutorName | None, course: Course, concurrency: int) -> Executor:
    """The executor of this name, or the one that fits the handlers.

    Raises:
        ValueError: A handler cannot run in it as it is meant to.
    """
    handlers = course.handlers.values()
    name = name_for(name, handlers)
    for handler in handlers:
        _check(name, handler)
    module = import_module(f"pydisque.worker.executors.{_MODULES[name]}")
    executor: Executor = getattr(module, _CLASSES[name])(course, concurrency)
    return executor


def _check(name: ExecutorName, handler: Handler) -> None:
    if name == "threads" and handler.is_async:
        raise ValueError(
            f"the handler of {handler.queue!r} is a coroutine function, which threads cannot run; "
            'leave executor out, or use "asyncio" or "processes"'
        )
    if handler.timeout is not None and name != "processes" and not handler.is_async:
        raise ValueError(
            f"the handler of {handler.queue!r} has a timeout, but a thread cannot be stopped; "
            'make it a coroutine function, or use executor="processes"'
        )
