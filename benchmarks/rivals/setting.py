"""What every rival's module needs: where the server is, and how to become the framework's tool."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

PORT = int(os.environ.get("BENCH_PORT", "0"))
URL = f"redis://127.0.0.1:{PORT}/0"
VARIANT = os.environ.get("BENCH_VARIANT", "")


def concurrency(chosen: int) -> int:
    """What its module chose, unless a variant is tried."""
    return int(VARIANT or chosen)


def become(tool: str, *args: str) -> NoReturn:
    """Turn this process into a command that stands beside the interpreter."""
    path = str(Path(sys.executable).with_name(tool))
    os.execv(path, [path, *args])
