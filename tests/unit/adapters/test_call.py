"""Calls of Django's tasks as jobs, and the backend's options."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pydisque.adapters.django.call import YEAR, Call, Options, job_options

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "delay"), [(None, None), (-5, None), (0, None), (0.1, 1), (60, 60), (60.5, 61)]
)
def test_a_task_never_runs_early(seconds, delay):
    """Its delay is in whole seconds, upwards; it lives on as long as any."""
    run_after = None if seconds is None else NOW + timedelta(seconds=seconds)
    options = job_options(Options(), run_after, NOW)
    assert options.get("delay") == delay
    assert options["ttl"] == YEAR + (delay or 0)


def test_a_call_comes_back_as_it_was():
    """Text included that is not ASCII."""
    call = Call("shop.tasks.sell", "q", 5, NOW.isoformat(), ["größer", 1], {"rush": None})
    assert Call.of_body(call.to_body()) == call


@pytest.mark.parametrize("body", [b"", b"hello", b"[1]", b"{}", b'{"task": "t"}', b"\xff"])
def test_what_is_no_call_is_told(body):
    """Somebody else's job in the queue."""
    with pytest.raises(ValueError, match=r".+"):
        Call.of_body(body)


def test_an_option_there_is_not_is_refused():
    """By its name, with those there are."""
    with pytest.raises(ValueError, match=r"no such option: host; there are client, .*nodes"):
        Options.of({"host": "h"})
