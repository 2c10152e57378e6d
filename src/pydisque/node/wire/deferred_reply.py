"""A reply whose bytes are made when a deferred result arrives, in the place where they are due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from pydisque.errors import DisqueError
from pydisque.node.store.deferred import Answer, Later
from pydisque.node.wire import resp

logger = logging.getLogger("pydisque.node")

T = TypeVar("T")

INTERNAL_ERROR = resp.error("ERR internal error, see the log of the node")
"""For a client whose command fails in a way nobody thought of."""


class Owner(Protocol):
    """Whoever a reply is for."""

    def arrived(self, size: int) -> None:
        """A reply that was waited for is there, so many bytes."""


class Reply:
    """A reply to come: the bytes that an answer becomes."""

    __slots__ = ("_shape", "adapt", "bytes", "owner", "size")

    def __init__(self, answer: Later[Any], shape: Callable[[Any], bytes]) -> None:
        """Make it of an answer and of what turns that into bytes, or raises `DisqueError`."""
        self.bytes: bytes | None = None
        """None while it is still to come."""
        self.owner: Owner | None = None
        self.size = 0
        """Bytes of the request that it answers, for its owner."""
        self.adapt: Callable[[bytes], bytes] | None = None
        """What is done to the bytes in the end, for a client that wants them otherwise."""
        self._shape = shape
        answer.then(self._take, self._refuse)

    def _take(self, value: Any) -> None:
        try:
            self._put(self._shape(value))
        except DisqueError as error:
            self._refuse(error)
        except Exception:
            logger.exception("an answer cannot be read")
            self._put(INTERNAL_ERROR)

    def _refuse(self, error: DisqueError) -> None:
        self._put(resp.error(error.reply))

    def _put(self, data: bytes) -> None:
        self.bytes = self.adapt(data) if self.adapt else data
        if self.owner:
            self.owner.arrived(len(self.bytes))


def shaped(answer: Answer[T], shape: Callable[[T], bytes]) -> bytes | Reply:
    """The reply that an answer makes, now or later; an error of `shape` is an error reply."""
    if isinstance(answer, Later):
        return Reply(answer, shape)
    return shape(answer)
