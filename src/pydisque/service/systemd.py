"""What a service tells systemd: that it is ready, that it stops, that it is alive.

Datagrams to the socket named in the environment; without one nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket


def notify(state: str) -> None:
    """Tell systemd, if it asked to be told; whether it hears is its own business."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path[0] == "@" else path  # one without a file
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.sendto(state.encode(), address)


def ready() -> None:
    """Say that the service is up, and from now on that its running loop goes round."""
    notify("READY=1")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    patience = os.environ.get("WATCHDOG_USEC", "")
    if ours and patience.isdigit() and int(patience):
        _keep_alive(asyncio.get_running_loop(), int(patience) / 1e6 / 2)


def _keep_alive(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    notify("WATCHDOG=1")
    loop.call_later(seconds, _keep_alive, loop, seconds)


def stopping() -> None:
    """Say that the service begins to stop."""
    notify("STOPPING=1")
