"""The examples do what they say: each is run as its head tells, on a node of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pydisque.client import Client
from support.servers import until

EXAMPLES = Path(__file__).parents[2] / "examples"

CASES = {
    "mail": (
        ["ada@example.org", "nobody"],
        ["to ada@example.org: Hello (attempt 1)"],
        {"mail": "'nobody' is no address"},
    ),
    "webhooks": (
        ["http://a/", "http://b/"],
        ["POST http://a/: order.paid", "POST http://b/: order.paid", "Idempotency-Key: D-"],
        {},
    ),
    "primes": (
        ["1000", "100000", "-1"],
        ["168 primes up to 1000", "9592 primes up to 100000"],
        {"primes": "SIGSEGV"},
    ),
}


def test_every_example_is_tried():
    """No example is left out here."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_an_example_works(name, disque_server, monkeypatch, tmp_path):
    """A worker of the example does the jobs that the example adds, and ends with exit code 0."""
    arguments, lines, dead = CASES[name]
    monkeypatch.setenv("DISQUE_NODES", disque_server.address)
    output = tmp_path / "output"
    with output.open("w") as file:
        command = [sys.executable, "-m", "pydisque", "worker", name, "--log-level", "error"]
        worker = subprocess.Popen(command, cwd=EXAMPLES, stdout=file)
    try:
        subprocess.run([sys.executable, f"{name}.py", *arguments], cwd=EXAMPLES, check=True)
        with Client(disque_server.address) as client:
            until(lambda: not client.jscan(0, busyloop=True, queue=name)[1], 60)
            until(lambda: all(line in output.read_text() for line in lines), 10)
            for queue, error in dead.items():
                [letter] = client.qpeek(f"{queue}:dead", 2)
                assert error in letter.body.decode()
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
