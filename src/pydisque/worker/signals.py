"""Being told to stop: by SIGTERM, or by SIGINT, which is Ctrl-C. An app's own handlers count too.

Nothing here knows what stops.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call this on each such signal meanwhile, if this is the main thread.

    Handlers that were set before are called too, and are in their places again afterwards; a
    signal that was ignored stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in STOPS}

    def on_signal(signum: int, frame: FrameType | None) -> None:
        stop()
        theirs = before[signal.Signals(signum)]
        if callable(theirs) and theirs is not signal.default_int_handler:
            theirs(signum, frame)

    for signum, theirs in before.items():
        if theirs is not signal.SIG_IGN:
            signal.signal(signum, on_signal)
    try:
        yield
    finally:
        for signum, theirs in before.items():
            signal.signal(signum, theirs)
