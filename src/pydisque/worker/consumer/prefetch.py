"""How many jobs to ask for: enough that nobody idles, few enough that none waits here for long.

Jobs that take long are fetched when there is room to run them, and stay with the node until then,
where other workers can have them. Short ones are fetched ahead, as many as are begun within
`AHEAD`, so that fetching costs little per job.
"""

from __future__ import annotations

# Seconds of work to fetch ahead.
AHEAD = 0.05

# How much a job counts in the mean; about this many of the last ones matter.
_WEIGHT = 1 / 64


class Appetite:
    """The measure of one worker."""

    def __init__(self, concurrency: int, most_ahead: int) -> None:
        """Begin without knowing how long a job takes, and so ahead by none.

        Args:
            concurrency: How many jobs run at once.
            most_ahead: The most jobs to fetch ahead.
        """
        self._concurrency = concurrency
        self._most = most_ahead
        self._mean: float | None = None
        self.ahead = 0

    def took(self, seconds: float, jobs: int) -> None:
        """So many jobs have taken so long, all together."""
        each = seconds / jobs
        if self._mean is None:
            self._mean = each
        self._mean += (each - self._mean) * min(1.0, jobs * _WEIGHT)
        begun = self._concurrency * AHEAD / max(self._mean, 1e-9)
        self.ahead = min(self._most, int(begun))

    def spoilt(self, seconds: float) -> None:
        """A job fetched ahead was not begun for so long: the running ones take at least that."""
        self._mean = max(self._mean or 0.0, seconds)
        self.ahead = 0

    def room(self, in_hand: int) -> int:
        """How many to ask for while so many are here; 0 until it is worth it."""
        room = self._concurrency + self.ahead - in_hand
        return room if room > self.ahead // 2 else 0
