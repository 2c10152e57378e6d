"""A short round of the fuzzer; `make fuzz` runs a long one."""

from __future__ import annotations

from fuzz.fuzz_node import run


def test_a_short_round_of_noise() -> None:
    """Noise on its port neither ends the node nor keeps it from answering a good client."""
    report = run(requests=30_000, seed=7)
    assert report.requests >= 30_000
    assert report.errors > 1000
    assert report.good_jobs > 0
