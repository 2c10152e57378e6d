"""Warnings that clients can cause: a line a second, and the others are counted."""

from __future__ import annotations

import pytest

from pydisque.service.log_limit import Seldom


def test_a_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """Of many warnings within a second one is logged; the next line says how many were left out."""
    warnings = Seldom()
    for now in (0, 1, 999, 1000, 1001, 5000, 6001):
        warnings.warn(now, "closing client %s", now)
    assert [record.getMessage() for record in caplog.records] == [
        "closing client 0",
        "closing client 1000, and 2 more before",
        "closing client 5000, and 1 more before",
        "closing client 6001",
    ]
