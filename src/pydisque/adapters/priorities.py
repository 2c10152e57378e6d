"""Priorities by queues: a queue has others beside it, one for each step of importance.

The more important ones are asked first. Those who put jobs in and those who take them out have to
agree on the steps. Nothing here knows a framework.
"""

from __future__ import annotations

from collections.abc import Iterable


class Steps:
    """The steps of a queue, the most important first; 0 is the queue itself."""

    def __init__(self, steps: Iterable[int] = ()) -> None:
        """Take the lowest priority of each step; 0 is always one.

        Raises:
            TypeError: One is no int.
        """
        steps = list(steps)
        for step in steps:
            if type(step) is not int:
                raise TypeError(f"a step of priorities must be an int, not {step!r}")
        self.steps = sorted({0, *steps}, reverse=True)

    def of(self, queue: str) -> list[str]:
        """The names of all queues of a queue, the most important first."""
        return [self._name(queue, step) for step in self.steps]

    def queue_for(self, queue: str, priority: int) -> str:
        """Which of them a job of this priority belongs into."""
        step = next((step for step in self.steps if step <= priority), self.steps[-1])
        return self._name(queue, step)

    def _name(self, queue: str, step: int) -> str:
        return f"{queue}:p{step}" if step else queue
