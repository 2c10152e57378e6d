"""An `AsyncClient` in the shape of a `Client`, for tests that block: its loop has a thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self

from pydisque import AsyncClient, AsyncPipeline


class LoopedClient:
    """Each call is run in the loop, and its result waited for; so threads can share it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = AsyncClient(*args, **options)
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(True)
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._blocking(found) if callable(found) else found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it for good."""
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        while self._loop.is_running():
            threading.Event().wait(0.001)
        self._loop.close()

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            if isinstance(result, AsyncPipeline):
                return _LoopedPipeline(self, result)
            if isinstance(result, AsyncIterator):
                return self._each(result)
            return self._wait(result) if inspect.iscoroutine(result) else result

        return call

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _each(self, elements: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._wait(anext(elements))
            except StopAsyncIteration:
                return


class _LoopedPipeline:
    def __init__(self, client: LoopedClient, pipeline: AsyncPipeline) -> None:
        self._client = client
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> Callable[..., _LoopedPipeline]:
        def queue(*args: Any, **options: Any) -> _LoopedPipeline:
            getattr(self._pipeline, name)(*args, **options)
            return self

        return queue

    def __len__(self) -> int:
        return len(self._pipeline)

    def execute(self, *args: Any) -> Any:
        return self._client._wait(self._pipeline.execute(*args))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipeline._taken()
