"""A node's door for who looks after it: /health, /live and /metrics, beside its clients' ports.

Requests come in threads of their own; each has the node's loop look at the node for a moment, and
is written here. A loop that does not do that in time is what there is to be told then.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from typing import TypeVar

from pydisque.node.observability.snapshot import Watch
from pydisque.node.state.node import Node
from pydisque.service.http_server import NO_METRICS, TEXT, Door, Response, no_metrics

logger = logging.getLogger("pydisque.node")

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds that the loop gets to answer: probes mostly wait for longer, and then know nothing."""


class StuckError(Exception):
    """The node's loop does not answer."""


class NodeDoor:
    """The door of one node, open also while the node is not there yet."""

    def __init__(self, listen: str, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare it, for a node of this loop."""
        answers = {"/health": self._health, "/live": self._live, "/metrics": self._metrics}
        self._door = Door(listen, answers, logger)
        self._loop = loop
        self._watch: Watch | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str | None:
        """Where it listens; None while it is closed."""
        return self._door.address

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: That address cannot be listened on.
        """
        self._door.open()
        if not has_metrics():
            logger.warning(NO_METRICS)

    def show(self, node: Node, *, queues: int) -> None:
        """This is the node; tell of so many of its queues."""
        self._watch = Watch(node, queues=queues)
        self._every_second()

    def _every_second(self) -> None:
        self._timer = self._loop.call_later(1, self._every_second)
        if self._watch:
            self._watch.every_second()

    async def aclose(self) -> None:
        """Stop listening."""
        if self._timer:
            self._timer.cancel()
        await self._loop.run_in_executor(None, self._door.close)

    # In the threads of the requests

    def _ask(self, question: Callable[[], T]) -> T:
        """What is answered in the loop.

        Raises:
            StuckError: Nothing, in time.
        """
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:  # noqa: BLE001 - whoever asked raises it
                answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:  # the loop is closed
            raise StuckError("it has stopped") from None
        try:
            return answer.result(PATIENCE)
        except TimeoutError:
            raise StuckError(f"it does nothing for {PATIENCE:g} seconds") from None

    def _live(self, _: str) -> Response:
        """Whether its loop runs: who fails here is helped by nothing but being started again."""
        try:
            self._ask(lambda: None)
        except StuckError as error:
            return _told("stuck", str(error))
        return _told("live")

    def _health(self, _: str) -> Response:
        """Whether clients should use it."""
        watch = self._watch
        try:
            trouble = self._ask(lambda: "" if watch is None else watch.trouble())
        except StuckError as error:
            return _told("stuck", str(error))
        if watch is None:
            return _told("starting", "it is not there yet")
        return _told("failing", trouble) if trouble else _told("working")

    def _metrics(self, accept: str) -> Response:
        watch = self._watch
        if not has_metrics():
            return no_metrics(accept)
        if watch is None:
            return Response(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, b"the node is not there yet\n")
        from pydisque.node.observability.metrics import exposition  # noqa: PLC0415 - an extra

        try:
            text, content_type = exposition(self._ask(watch.snapshot), accept)
        except StuckError as error:
            return Response(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{error}\n".encode())
        return Response(HTTPStatus.OK, content_type, text)


def has_metrics() -> bool:
    """Whether prometheus_client is there."""
    try:
        import prometheus_client  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError:
        return False
    return True


def _told(status: str, reason: str = "") -> Response:
    told = {"status": status} | ({"reason": reason} if reason else {})
    code = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
    return Response(code, "application/json", json.dumps(told).encode() + b"\n")
