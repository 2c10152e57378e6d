"""Debian's Chromium, driven by Playwright; its own browsers are not needed."""

from __future__ import annotations

from pathlib import Path

CHROMIUM = "/usr/bin/chromium"

FLAGS = [
    "--no-sandbox",  # as root it has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def lacks() -> str | None:
    """What has to be installed before a browser can be driven, if anything."""
    if Path(CHROMIUM).exists():
        return None
    return f"there is no {CHROMIUM}: apt-get install chromium"
