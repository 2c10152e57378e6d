"""Dashboards for tests, each in a process of its own, on a port that is free."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Self


class Dashboard:
    """One of them, with what it was told on its command line."""

    def __init__(self, nodes: Sequence[str], *options: str, **environment: str) -> None:
        """Start it, and wait until it says where it is."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pydisque", "dashboard", "--port", "0", *options],
            env=os.environ | {"DISQUE_NODES": ",".join(nodes)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        found = re.search(r"http://\S+(?=/)", said)
        assert found, f"it did not start: {said}"
        self.url = found[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.log = self.process.communicate(timeout=20)[1]
