"""Kill a node again and again while its clients work: `make chaos`.

Producers and workers run at full speed. The node is ended at random moments, most often with
SIGKILL, also while it starts, and started again on the same port and directory. With a bad disk the
plug is pulled instead, or writes and syncs begin to fail while it runs. At the end every queue is
drained, and all that was told to anybody is held against what it has to keep (see promises.py).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.chaos import faults
from harness.chaos.clients import QUEUES, Client, Producer, Worker, World
from harness.chaos.history import History
from harness.chaos.node import ChaosNode
from harness.chaos.promises import Promises, Violation

RECOVERY = 2.5
"""Seconds within which a node writes again once it can: it tries every second."""
DRAIN = 60


class Plan(NamedTuple):
    """What a run does."""

    kills: int = 200
    seed: int = 0
    durability: str = "always"
    seconds: float = 1.0
    """How long a life of the node lasts at most, once it serves."""
    plug: bool = False
    """Pull the plug instead of SIGKILL."""
    faults: bool = False
    """Let the disk fail at times."""
    tight: bool = True
    """Copy and clean up the journal all the time."""
    producers: int = 3
    workers: int = 4


class Outcome(NamedTuple):
    """What came of it."""

    violations: list[Violation]
    history: History
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{violation.what}\n{violation.job.tell(self.history.started) if violation.job else ''}"
            for violation in self.violations[:10]
        ]
        if self.violations:
            lines.append(f"the node ended: {' '.join(self.history.ends)}")
        counts = sorted(self.history.counts.items())
        width = max(len(name) for name, _ in counts)
        lines += [f"{name:{width}} {number:9}" for name, number in counts]
        lines.append(f"{'promises broken':{width}} {len(self.violations):9}")
        lines.append(f"{'seconds':{width}} {self.seconds:9.0f}")
        return "\n".join(lines)


class Chaos:
    """One run."""

    def __init__(self, plan: Plan, node: ChaosNode) -> None:
        self._plan = plan
        self._node = node
        self._random = random.Random(plan.seed)
        self._started = time.monotonic()
        self._history = History(self._started)
        self._world = World(node.address, self._history)
        self._violations: list[Violation] = []

    def run(self) -> Outcome:
        """Do it all."""
        self._node.start()
        with self._clients() as clients:
            while self._history.counts["killed"] < self._plan.kills:
                self._live()
                self._node.start()
                self._world.check()
            self._world.producing = False
            self._end_hard()
            self._node.start()
            self._drain(clients)
        self._end_hard()
        self._node.start()
        self._check_empty()
        self._node.terminate()
        if "Traceback" in self._node.said():
            self._violations.append(Violation(f"the node said: {self._node.said()[-4000:]}", None))
        self._violations += Promises(self._history, self._plan.durability).broken()
        return Outcome(self._violations, self._history, time.monotonic() - self._started)

    @contextlib.contextmanager
    def _clients(self) -> Iterator[list[Client]]:
        plan, world = self._plan, self._world
        clients: list[Client] = [
            Producer(world, f"producer-{n}", f"{plan.seed} producer {n}")
            for n in range(plan.producers)
        ]
        clients += [
            Worker(world, f"worker-{n}", f"{plan.seed} worker {n}") for n in range(plan.workers)
        ]
        with world.at_work(clients):
            yield clients

    # A life of the node

    def _live(self) -> None:
        """Let it work for a while, and end it."""
        choose = self._random
        if self._plan.plug and self._node.faults:  # as disks are that have something to lose
            self._node.faults.set(sync_delay=choose.choice((0, 3, 20)))
        time.sleep(choose.uniform(0.02, self._plan.seconds))
        if self._plan.faults and choose.random() < 0.6:
            self._live_with_a_fault()
        dice = choose.random()
        if dice < 0.08:
            self._end("SIGTERM")
            self._node.terminate()
        elif dice < 0.16:
            self._end("SHUTDOWN")
            self._node.shut_down()
        else:
            self._end_hard()
            while choose.random() < 0.1:
                self._node.launch()
                time.sleep(choose.uniform(0, 0.8))
                self._history.add_count("killed while starting")
                self._end_hard()

    def _end(self, how: str) -> None:
        self._history.add_count(f"ended by {how}")
        self._history.ends.append(f"{how} {time.monotonic() - self._started:.3f}")

    def _end_hard(self) -> None:
        self._history.add_count("killed")
        if self._plan.plug:
            self._end("pulled plug")
            self._node.kill()
            self._history.plugs.append(time.monotonic())
            assert self._node.disk
            self._history.add_count("unsynced changes at pulled plugs", self._node.disk.unsynced())
            self._node.disk.pull_plug(self._random)
        else:
            self._end("SIGKILL")
            self._node.kill()
        if self._node.faults:
            self._node.faults.clear()
        self._world.syncs_fail = False

    def _live_with_a_fault(self) -> None:
        """Have a bad disk for some time; sometimes until the end."""
        choose = self._random
        disk = self._node.faults
        assert disk
        kind = choose.choice(list(faults.KINDS))
        self._history.add_count(f"disk with {kind}" if kind != "full" else "full disk")
        self._world.syncs_fail = self._world.syncs_fail or kind == "bad syncs"
        faults.KINDS[kind](disk)
        time.sleep(choose.uniform(0.1, 2))
        self._history.add_count("system calls failed", disk.failures)
        if choose.random() < 0.7:
            disk.clear()
            self._wait_for_recovery()
            self._world.syncs_fail = False

    def _wait_for_recovery(self) -> None:
        cleared = time.monotonic()
        while True:
            try:
                self._node.ask("PING")
            except Exception as error:  # noqa: BLE001 - hiredis has many
                after = time.monotonic() - cleared
                if after > RECOVERY:
                    what = f"{after:.1f} s after the disk was good again: {error!r}"
                    self._violations.append(Violation(what, None))
                    return
                time.sleep(0.02)
            else:
                return

    # The end

    def _drain(self, clients: list[Client]) -> None:
        for client in clients:
            if isinstance(client, Producer):
                client.join()
        self._world.draining = True
        deadline = time.monotonic() + DRAIN
        while self._node.jobs() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)  # jobs delivered at most once leave no other trace
        while any(self._node.ask("QLEN", queue) for queue in QUEUES):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def _check_empty(self) -> None:
        if self._plan.plug and self._plan.durability != "always":
            return  # the last acks may be lost
        for queue in QUEUES:
            if length := self._node.ask("QLEN", queue):
                what = f"{length} jobs are left in the queue {queue.decode()}"
                self._violations.append(Violation(what, None))
        for id_ in self._node.jobs():
            job = next((job for job in self._history.jobs.values() if job.id == id_), None)
            self._violations.append(Violation(f"left though all is done: {id_.decode()}", job))


def run(plan: Plan) -> Outcome:
    """Run a plan; the directory of a node that broke a promise is kept."""
    bad_disk = plan.plug or plan.faults
    with ChaosNode(plan.durability, bad_disk=bad_disk, tight=plan.tight) as node:
        outcome = Chaos(plan, node).run()
        if outcome.violations:
            node.keep = True
        return outcome


def main() -> None:
    """Run from the command line; exit with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description="Kill a node that works, again and again.")
    parser.add_argument("--kills", type=int, default=Plan().kills)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--durability", choices=("always", "everysec", "none"), default="always")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a life, at most")
    parser.add_argument("--plug", action="store_true", help="pull the plug instead of SIGKILL")
    parser.add_argument("--faults", action="store_true", help="let the disk fail at times")
    parser.add_argument("--loose", action="store_true", help="a journal of its usual size")
    options = vars(parser.parse_args())
    plan = Plan(tight=not options.pop("loose"), **options)
    if (plan.plug or plan.faults) and (reason := faults.lacking()):
        parser.exit(2, f"no bad disk: {reason}\n")
    # Whoever ends the run does not want the node to stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    print(f"seed {plan.seed}, {plan.durability}", flush=True)  # noqa: T201
    outcome = run(plan)
    print(outcome)  # noqa: T201
    sys.exit(bool(outcome.violations))


if __name__ == "__main__":
    main()
