"""Dead letters: jobs that were given up, kept in a queue of their own for somebody to look at.

A dead letter is a job as any other. Its body is the body of the job that died, untouched, and how
it came to die travels beside it in a header. Workers write them; here they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydisque.envelope import EARLIER, unwrap, wrap

HEADER = "pydisque-dead"
SUFFIX = ":dead"


def queue_for(queue: str) -> str:
    """The queue in which the dead letters of a queue are, unless its handler names another."""
    return queue + SUFFIX


class DeadLetter(NamedTuple):
    """A job that died, and why."""

    queue: str
    """The queue it was in."""
    id: str
    """The ID under which it was first added."""
    nacks: int
    additional_deliveries: int
    error: str
    """In one line."""
    traceback: str
    at: str
    """When it died: date and time, ISO 8601 in UTC."""
    body: bytes = b""
    headers: Mapping[str, Any] = {}
    """What else travelled with it, such as its trace."""

    def to_body(self) -> bytes:
        """The body of the job that is to be added for it."""
        story = self._asdict()
        del story["body"], story["headers"]
        kept = {name: value for name, value in self.headers.items() if name != EARLIER}
        return wrap(wrap(self.body, kept), {HEADER: story})

    @classmethod
    def of_body(cls, body: bytes) -> Self | None:
        """Read the body of a job; None if that is no dead letter."""
        inner, headers = unwrap(body)
        story = headers.pop(HEADER, None)
        if not isinstance(story, dict):
            return None
        try:
            return cls(**story, body=inner, headers=headers)
        except TypeError:
            return None

    def reborn(self) -> bytes:
        """The body with which it can be added to its queue again, its attempts uncounted."""
        return wrap(self.body, self.headers)
