"""Keeps a forked child of a job from going on as a worker.

A handler may fork. The child has a copy of the executor's thread, which must neither report the
job nor take another one: it ends where the handler's function does.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

generation = 0
"""Increased in each forked child: an executor compares it before and after a job."""


def _in_child() -> None:
    global generation  # noqa: PLW0603 - it is the process's own
    generation += 1


os.register_at_fork(after_in_child=_in_child)


def end_child(error: BaseException | None) -> NoReturn:
    """End this forked child as a program of its own would: by what its function raised."""
    code: object = 0
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)  # noqa: T201 - as Python does
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code & 0xFF)  # what the worker has registered with atexit is not the child's
