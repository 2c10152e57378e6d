"""Whatever a handler or hook raises, wherever: the job has failed, and the executor goes on."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from pydisque.client import Client
from pydisque.dead_letters import DeadLetter
from pydisque.node import Server
from pydisque.testing import Clock, InlineWorker
from pydisque.worker import Worker
from support.servers import until

from . import raising

EXECUTORS = ["threads", "asyncio", "processes", "inline"]

# What ends a loop of asyncio; other exceptions of a callback are logged by it.
ENDS_LOOP = ["SystemExit", "KeyboardInterrupt"]

ANYWHERE = ["handler", "decode", "before", "after", "error"]
PLACES = {place: list(raising.KINDS) for place in ANYWHERE} | {
    "sub-task": list(raising.KINDS),
    "task group": [kind for kind in raising.KINDS if kind != "CancelledError"],  # it ignores that
    "generator": list(raising.KINDS),
    "thread": list(raising.KINDS),
    "stopped loop": list(raising.KINDS),
    "task that is left": ENDS_LOOP,
    "callback": ENDS_LOOP,
    "callback at the end": ENDS_LOOP,
    "timer": ENDS_LOOP,
}


def the_worker(executor: str, function, nodes: str | None = None) -> Worker:
    worker = Worker(
        nodes,
        executor=None if executor == "inline" else executor,
        concurrency=2,
        hooks=[raising.RaisingHook()],
    )
    worker.handler("q", max_attempts=1, decode=raising.decode)(function)
    return worker


def run(executor: str, function, bodies: list[str]) -> dict[str, DeadLetter]:
    """Have these jobs run, and a last one that is done; the dead letters by their bodies."""
    if executor == "inline":
        return run_inline(function, bodies)
    with Server() as server, Client(server.address) as client:
        with the_worker(executor, function, server.address) as worker:
            tally = worker.tally
            client.add_jobs("q", bodies)
            until(lambda: tally.dead[b"q"] + tally.done[b"q"] == len(bodies), 60)
            client.add_json("q", ["nowhere", ""])
            until(lambda: tally.dead[b"q"] + tally.done[b"q"] == len(bodies) + 1, 10)
            assert (tally.in_hand, worker.stopping) == (0, False)
        return letters(client)


def run_inline(function, bodies: list[str]) -> dict[str, DeadLetter]:
    clock = Clock()
    with clock.server() as server, Client(server.address) as client:
        with InlineWorker(the_worker("inline", function), client, clock) as inline:
            for body in [*bodies, json.dumps(["nowhere", ""])]:
                client.add_job("q", body)
            while client.qlen("q"):
                with suppress(KeyboardInterrupt):
                    inline.run()
            assert inline.ended[-1].outcome == "done"
        return letters(client)


def letters(client: Client) -> dict[str, DeadLetter]:
    found = [DeadLetter.of_body(job.body) for job in client.qpeek("q:dead", 1000)]
    return {letter.body.decode(): letter for letter in found if letter}


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("shape", ["plain", "awaited", "wrapped"])
def test_whatever_is_raised_is_the_jobs_outcome(executor, shape):
    """Every kind of exception at every place fails its job, which is counted; others are done."""
    if (executor, shape) == ("threads", "awaited"):
        pytest.skip("refused when the worker starts")
    places = ANYWHERE if shape == "plain" else list(PLACES)
    cases = [(place, kind) for place in places for kind in PLACES[place]]
    bodies = {json.dumps(case): case for case in cases}
    dead = run(executor, getattr(raising, shape), list(bodies))
    wrong = [case for body, case in bodies.items() if not is_told(dead.get(body), *case)]
    assert wrong == []


def is_told(letter: DeadLetter | None, place: str, kind: str) -> bool:
    """Whether the dead letter tells what was raised, or what Python made of it."""
    if letter is None:
        return False
    if place == "error":
        return letter.error == "ValueError: of the handler"
    return kind in letter.error or kind in letter.traceback
