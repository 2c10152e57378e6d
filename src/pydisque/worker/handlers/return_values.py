"""Checks what a handler is, and what it returned: nothing is acknowledged that has not run.

A coroutine, a future or another awaitable has to be awaited, whichever kind of function returned
it. A generator runs only while something iterates over it, which no executor does. Pure.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from types import AsyncGeneratorType, CodeType, FunctionType, GeneratorType
from typing import Any


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it only makes a coroutine; partials and objects with ``__call__`` count."""
    return any(inspect.iscoroutinefunction(layer) for layer in _layers(function))


def is_generator_function(function: Any) -> bool:
    """Whether it, or a function that it wraps, has a ``yield``; coroutine functions may wrap it."""
    if is_coroutine_function(function):
        return False
    layers = _layers(function, wrapped=True)
    return any(_yields(layer) or inspect.isasyncgenfunction(layer) for layer in layers)


def awaitable_of(result: Any) -> Awaitable[Any] | None:
    """What to await before a handler has done its work; None: it has.

    Raises:
        TypeError: It is a generator.
    """
    if result is None:
        return None
    if inspect.isawaitable(result):
        return result
    if isinstance(result, (GeneratorType, AsyncGeneratorType)):
        raise TypeError(
            f"the handler returned the generator {result.__qualname__}, which nothing runs: "
            "iterate over it in the handler"
        )
    return _outcome_of(result) if isinstance(result, Future) else None


async def awaited(result: Any) -> None:
    """Await what a handler returned, and what that returns, until the work is done.

    Raises:
        TypeError: It is a generator.
    """
    while (pending := awaitable_of(result)) is not None:
        result = await pending


async def _outcome_of(future: Future[Any]) -> Any:
    """Of a thread or process pool; imported here, as this is the only use of asyncio."""
    import asyncio  # noqa: PLC0415

    return await asyncio.wrap_future(future)


def _yields(layer: Any) -> bool:
    """Generator-based coroutines, of `types.coroutine`, can be awaited and do not count."""
    code = getattr(layer, "__code__", None)
    iterable_coroutine = isinstance(code, CodeType) and (
        code.co_flags & inspect.CO_ITERABLE_COROUTINE
    )
    return inspect.isgeneratorfunction(layer) and not iterable_coroutine


def _layers(function: Any, *, wrapped: bool = False) -> Iterator[Any]:
    """The function, and what a call of it calls at once; if wanted also what it wraps."""
    seen: set[int] = set()
    layers: list[Any] = [function]
    while layers:
        layer = layers.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        layers += _inner(layer)
        if wrapped and (inner := getattr(layer, "__wrapped__", None)) is not None:
            layers.append(inner)


def _inner(layer: Any) -> list[Callable[..., Any]]:
    if isinstance(layer, functools.partial):
        return [layer.func]
    if inspect.ismethod(layer):
        return [layer.__func__]
    if isinstance(layer, (FunctionType, type)) or inspect.isbuiltin(layer):
        return []
    call = getattr(type(layer), "__call__", None)  # noqa: B004 - its function is wanted
    return [call] if isinstance(call, FunctionType) else []
