"""The states of a client's connection, and what leads from one to another.

Everything that decides whether a client's commands run is in this table; an event that a state does
not list is a bug, and raises KeyError. What a state means for sockets and replies is for
`connection`. Pure.

A connection that cannot send, as its client does not read, is in one of these states all the same:
it is not read from, and turns STALLED as soon as it has something to run.
"""

from __future__ import annotations

IDLE = "idle"
"""Everything that arrived has run. Input is read."""
RUNNING = "running"
"""Its turn: commands are parsed and run."""
THROTTLED = "throttled"
"""There is more to run, in one of its next turns. No input is read until all has run."""
STALLED = "stalled"
"""There is more to run, but replies must leave first, or CLIENT PAUSE is on. No input is read."""
BLOCKED = "blocked"
"""A command waits for its reply, and all later ones for that. A little input is read."""
SUSPENDED = "suspended"
"""A command of several steps runs, and all later ones wait for it. No input is read, so that a
client which has sent all, and closed its half, gets the replies."""
CLOSING = "closing"
"""No command runs any more; the replies that are due are sent."""
CLOSED = "closed"
"""The socket is gone."""

TRANSITIONS: dict[str, dict[str, str]] = {
    IDLE: {"run": RUNNING, "throttle": THROTTLED, "stall": STALLED, "finish": IDLE},
    RUNNING: {
        "finish": IDLE,
        "throttle": THROTTLED,
        "stall": STALLED,
        "block": BLOCKED,
        "suspend": SUSPENDED,
    },
    THROTTLED: {"run": RUNNING, "stall": STALLED},
    STALLED: {"throttle": THROTTLED, "stall": STALLED, "finish": IDLE},
    BLOCKED: {"unblock": IDLE},
    SUSPENDED: {"unblock": IDLE},
    CLOSING: {},
    CLOSED: {},
}
for _state, _events in TRANSITIONS.items():  # a connection can end at any time
    _events["close"] = CLOSED if _state == CLOSED else CLOSING
    _events["lose"] = CLOSED

READING = frozenset({IDLE, RUNNING, BLOCKED})
"""The states in which input is read, or goes on being read."""


def _by_event(event: str) -> dict[str, str]:
    return {state: events[event] for state, events in TRANSITIONS.items() if event in events}


RUN, FINISH, THROTTLE, STALL, BLOCK, SUSPEND, UNBLOCK, CLOSE, LOSE = map(
    _by_event,
    ("run", "finish", "throttle", "stall", "block", "suspend", "unblock", "close", "lose"),
)
"""The same table by event, as two of them happen with every read."""
