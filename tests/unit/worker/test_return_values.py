"""What may be a handler, and what has to be awaited before its work is done."""

from __future__ import annotations

import asyncio
import functools
import types
from concurrent.futures import Future
from threading import Timer
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from pydisque.worker import Worker
from pydisque.worker.executors.loops import JobLoop
from pydisque.worker.handlers.return_values import is_coroutine_function, is_generator_function

from .jobs import a_handler


def generator(job):
    yield job


async def async_generator(job):
    yield job


async def coroutine(job):
    return job


def plain(job):
    return job


@types.coroutine
def old_coroutine(job):
    yield
    return job


class Calls:
    """An object that is called."""

    def __init__(self, function):
        self.function = function


class CallsGenerator(Calls):
    def __call__(self, job):
        yield job


class CallsCoroutine(Calls):
    async def __call__(self, job):
        return job


class Methods:
    def yields(self, job):
        yield job

    async def awaits(self, job):
        return job

    @staticmethod
    def yields_too(job):
        yield job


def wrapping(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)

    return call


REFUSED = [
    generator,
    async_generator,
    functools.partial(generator),
    functools.partial(functools.partial(async_generator)),
    wrapping(generator),
    wrapping(wrapping(async_generator)),
    functools.partial(wrapping(generator)),
    wrapping(functools.partial(generator)),
    CallsGenerator(None),
    functools.partial(CallsGenerator(None)),
    Methods().yields,
    Methods.yields_too,
    functools.lru_cache(generator),
]

COROUTINES = [
    coroutine,
    functools.partial(coroutine),
    functools.partial(functools.partial(coroutine)),
    CallsCoroutine(None),
    functools.partial(CallsCoroutine(None)),
    Methods().awaits,
    AsyncMock(),
]


@pytest.mark.parametrize("function", REFUSED)
def test_generator_functions_are_refused(function):
    """A function with yield, however it is wrapped, is refused when it is registered."""
    assert is_generator_function(function)
    worker = Worker()
    with pytest.raises(TypeError, match="not the generator function"):
        worker.handler("q")(function)
    assert worker.handlers == {}


@pytest.mark.parametrize("function", COROUTINES)
def test_coroutine_functions_are_known(function):
    """Calling these makes a coroutine and does nothing else, so they belong into an event loop."""
    assert is_coroutine_function(function)
    assert a_handler(function=function).is_async


@pytest.mark.parametrize(
    "function",
    [plain, wrapping(plain), wrapping(coroutine), old_coroutine, print, Calls, Mock(), MagicMock(),
     functools.partial(plain), Methods, str.upper],
)  # fmt: skip
def test_other_functions_are_called(function):
    """Functions that may do something when they are called are, and what they return is seen."""
    assert not is_generator_function(function)
    assert not a_handler(function=function).is_async


def test_a_function_that_wraps_itself():
    """A circle of wrappers has an end."""
    plain.__wrapped__ = plain
    try:
        assert not is_generator_function(plain)
    finally:
        del plain.__wrapped__


class Awaitable:
    """An object that can be awaited."""

    def __init__(self, ran):
        self.ran = ran

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        self.ran.append(True)


@pytest.mark.parametrize("kind", ["coroutine", "awaitable", "future", "old", "of one", "partial"])
def test_whatever_can_be_awaited_is(kind):
    """A coroutine, an object with __await__, a thread's future, or a coroutine that returns one."""
    ran = []

    async def work():
        await asyncio.sleep(0)
        ran.append(True)

    async def forgets():
        return work()

    @types.coroutine
    def old():
        yield from work()

    future = Future()
    future.set_running_or_notify_cancel()
    makes = {
        "coroutine": work, "awaitable": lambda: Awaitable(ran), "old": old, "of one": forgets,
        "partial": functools.partial(work), "future": lambda: future,
    }  # fmt: skip
    if kind == "future":
        Timer(0.05, lambda: (ran.append(True), future.set_result(None))).start()
    loop = JobLoop()
    loop.finish(makes[kind]())
    assert ran == [True]
    loop.close()


@pytest.mark.parametrize("result", [generator(1), async_generator(1)], ids=["sync", "async"])
def test_a_generator_that_is_returned_fails(result):
    """A handler that returns a generator has not done its work."""
    with pytest.raises(TypeError, match=r"the generator .*generator, which nothing runs"):
        JobLoop().finish(result)


@pytest.mark.parametrize("result", [None, 5, "text", [], MagicMock(), iter([]), asyncio])
def test_other_results_are_dropped(result):
    """What is no promise of work is dropped, and no loop is made for it."""
    loop = JobLoop()
    loop.finish(result)
    assert loop._loop is None
