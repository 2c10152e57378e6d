"""Kill workers again and again while they work: `make chaos-workers`.

A durable node, producers and a few worker processes. Workers are killed, crash, run out of
memory, are stopped for longer than a lease, and told to end; jobs raise what ends an executor, and
executors break; wires are cut and fall silent; nodes
are killed and started again. At the end everything is drained, and what the handlers wrote down is
held against what a worker has to keep (see worker_promises.py).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.chaos.crew import Crew
from harness.chaos.node import ChaosNode
from harness.chaos.producing import Mix, Producer
from harness.chaos.proxy import Proxies, Proxy
from harness.chaos.worker_history import RETRY, Life, Story, Trouble
from harness.chaos.worker_promises import Promises, Violation
from pydisque.client import Client
from pydisque.dead_letters import DeadLetter

DEATHS = ("kill", "segv", "oom", "stop", "term", "exit", "executor")
TROUBLES = ("cut", "blackhole", "restart", "failover")
QUEUES = ("work", "deadly")
DRAIN = 90
RESUME = 45
"""Seconds within which every worker works again after a trouble; more is a broken promise."""


class Plan(NamedTuple):
    """What a run does."""

    deaths: int = 100
    seed: int = 0
    executor: str = "threads"
    modes: tuple[str, ...] = DEATHS
    nodes: int = 1
    rate: int = 300
    """Jobs added in a second, over all nodes."""
    workers: int = 4
    concurrency: int = 8
    grace: float = 2.0
    deliveries: int = 5
    """The max_additional_deliveries of jobs that end no workers."""
    pause: float = 1.0
    """Seconds between two deaths at most."""
    durability: str = "always"

    @property
    def troubled(self) -> bool:
        """Whether wires or nodes are to fail."""
        return bool(set(self.modes) & set(TROUBLES))


class Outcome(NamedTuple):
    """What came of it."""

    violations: list[Violation]
    story: Story
    explained: Counter[str]
    seconds: float
    said: str

    def __str__(self) -> str:
        lines = [
            f"{violation.what}\n"
            + "\n".join(
                f"    {run}\n      {self.story.lives[run.worker]}" for run in violation.runs
            )
            for violation in self.violations[:10]
        ]
        rows = [*self._figures(), ("promises broken", str(len(self.violations)))]
        rows.append(("seconds", f"{self.seconds:.0f}"))
        width = max(len(name) for name, _ in rows)
        return "\n".join([*lines, *(f"{name:{width}} {figure:>12}" for name, figure in rows)])

    def _figures(self) -> Iterator[tuple[str, str]]:
        story = self.story
        runs = [run for each in story.runs.values() for run in each]
        for name, number in sorted(story.counts.items()):
            yield name, str(number)
        for how, number in sorted(Counter(life.how for life in story.lives.values()).items()):
            yield f"workers ended by {how or 'nothing'}", str(number)
        yield "jobs run", str(len(story.runs))
        yield "runs", str(len(runs))
        for outcome, number in sorted(Counter(run.outcome for run in runs).items()):
            yield f"runs that ended {outcome or 'with their process'}", str(number)
        yield "jobs run to their end twice or more", str(self._doubles())
        yield "begun after a later delivery of the same", str(self._late())
        yield "begun again by the worker that had done it", str(self._own())
        yield "dead letters", str(len(story.letters))
        for what, number in sorted(self.explained.items()):
            yield f"delivered again: {what}", str(number)
        for kind, seconds in sorted(story.resume_times().items()):
            middle, most = statistics.median(seconds), max(seconds)
            yield f"at work again after {kind} ({len(seconds)})", f"{middle:.2f} {most:6.2f}"

    def _doubles(self) -> int:
        return sum(
            sum(run.outcome == "done" for run in runs) > 1 for runs in self.story.runs.values()
        )

    def _own(self) -> int:
        """Runs in a worker that had run the job to its end itself, and could not tell the node."""
        return sum(
            any(
                other.outcome == "done" and other.ended < run.begun and other.worker == run.worker
                for other in runs
            )
            for runs in self.story.runs.values()
            for run in runs
        )

    def _late(self) -> int:
        """Begun by workers that had been stopped, when another had begun the job already."""
        return sum(
            any(other.attempt > run.attempt and other.begun < run.begun for other in runs)
            for runs in self.story.runs.values() if len(runs) > 1 for run in runs
        )  # fmt: skip


class Chaos:
    """One run."""

    def __init__(self, plan: Plan, folder: Path, nodes: list[ChaosNode], proxies: Proxies) -> None:
        self._plan = plan
        self._folder = folder
        self._nodes = nodes
        self._proxies = proxies
        self._random = random.Random(plan.seed)
        self._story = Story(plan.executor, plan.grace, plan.deliveries)
        self._mix = Mix(random.Random(f"{plan.seed} jobs"), 0.002 if plan.troubled else 0.01)
        self._violations: list[Violation] = []
        self._log = folder / "runs"
        self._log.touch()
        self._reading = threading.Event()

    def run(self) -> Outcome:
        """Do it all."""
        started = time.monotonic()
        for node in self._nodes:
            node.start()
        self._wires = [
            [self._proxies.to(node.port) for _ in range(self._plan.workers)] for node in self._nodes
        ] if self._plan.troubled else []  # fmt: skip
        self._crew = Crew(self._story, self._folder, [self._settings(n) for n in
                                                      range(self._plan.workers)])  # fmt: skip
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        try:
            self._produce_and_kill()
            self._drain()
            self._crew.dismiss()
            self._story.orphans = self._orphans()
        finally:
            self._crew.end()
            self._reading.set()
            reader.join()
        return self._judge(time.monotonic() - started)

    def _settings(self, slot: int) -> dict[str, object]:
        """A worker's; every other one prefers the second node."""
        addresses = (
            [wires[slot].address for wires in self._wires]
            if self._wires
            else [node.address for node in self._nodes]
        )
        turn = slot % len(addresses)
        return {
            "nodes": addresses[turn:] + addresses[:turn],
            "executor": self._plan.executor,
            "concurrency": self._plan.concurrency,
            "grace": self._plan.grace,
            "deliveries": self._plan.deliveries,
            "log": str(self._log),
        }

    def _read(self) -> None:
        """Follow what the handlers write."""
        rest = ""
        with self._log.open() as log:
            while True:
                last = self._reading.is_set()
                *lines, rest = (rest + log.read()).split("\n")
                self._story.read(lines)
                if last:
                    return
                self._reading.wait(0.05)

    # Deaths

    def _produce_and_kill(self) -> None:
        rate = self._plan.rate / len(self._nodes)
        self._producers = [
            Producer(self._story, node.address, rate, self._mix) for node in self._nodes
        ]
        try:
            self._wait(lambda: len(self._crew.ready()) == self._plan.workers, 60)
            for _ in range(self._plan.deaths):
                time.sleep(self._random.uniform(0.1, self._plan.pause))
                mode = self._random.choice(self._plan.modes)
                self._story.counts[f"deaths: {mode}"] += 1
                if mode in TROUBLES:
                    self._trouble(mode)
                else:
                    self._end_somebody(mode)
        finally:
            self._story.calm = time.monotonic()
            for producer in self._producers:
                producer.stop()

    def _end_somebody(self, mode: str) -> None:
        by_job = self._plan.executor == "processes" or self._random.random() < 0.5
        if mode in ("oom", "exit") or (mode == "segv" and by_job):
            self._random.choice(self._producers).add("deadly", [self._mix.deadly(mode)])
            return
        victim = self._random.choice(self._wait(self._crew.ready, 60))
        if mode == "kill":
            self._crew.kill(victim)
        elif mode == "segv":
            self._crew.crash(victim)
        elif mode == "executor":
            self._crew.break_executor(victim)
        elif mode == "term":
            self._crew.tell_to_end(victim)
        else:
            self._crew.stop(victim, self._random.uniform(1.2, 2) * RETRY)

    # Trouble

    def _trouble(self, mode: str) -> None:
        """One of the wires to a node, or of the node; goes on when all workers work again."""
        number = max(range(len(self._nodes)), key=lambda n: sum(w.used for w in self._wires[n]))
        node, wires = self._nodes[number], self._wires[number]
        affected = [life for life in self._crew.ready() if wires[life.slot].used]
        began = time.monotonic()
        if mode == "cut":
            self._cut(wires, self._random.choice((0, 0, 1, 3)))
        elif mode == "blackhole":
            self._fall_silent(wires)
        else:
            down = 8 if mode == "failover" else self._random.choice((0, 1, 3))
            self._restart(node, wires, down)
        over = time.monotonic()
        kind = f"{mode}-{len(self._nodes)}" if mode == "blackhole" else mode
        self._story.troubles.append(
            Trouble(kind, began, over, frozenset(life.pid for life in affected))
        )
        self._wait_for_work(affected, kind, over)

    def _cut(self, wires: list[Proxy], seconds: float) -> None:
        for wire in wires:
            self._proxies.do(wire.close() if seconds else wire.cut())
        time.sleep(seconds)
        for wire in wires:
            self._proxies.do(wire.open())

    def _fall_silent(self, wires: list[Proxy]) -> None:
        for wire in wires:
            self._proxies.do(wire.fall_silent())
        time.sleep(12)
        for wire in wires:
            self._proxies.do(wire.speak())

    def _restart(self, node: ChaosNode, wires: list[Proxy], seconds: float) -> None:
        node.kill()
        for wire in wires:
            self._proxies.do(wire.close())
        time.sleep(seconds)
        node.start()
        for wire in wires:
            self._proxies.do(wire.open())

    def _wait_for_work(self, affected: list[Life], kind: str, over: float) -> None:
        deadline = over + RESUME
        for life in affected:
            while life.code is None and self._story.begins[life.pid][-1] < over + 1.5:
                if time.monotonic() > deadline:
                    what = f"worker {life.pid} does not work again {RESUME} s after {kind}"
                    self._violations.append(Violation(what, []))
                    return
                time.sleep(0.05)

    # The end

    def _drain(self) -> None:
        if len(self._nodes) > 1:  # where all went to one node, somebody must go back to the other
            for life in self._crew.alive():
                self._crew.tell_to_end(life)
        deadline = time.monotonic() + DRAIN
        while time.monotonic() < deadline:
            if not any(node.scan("QUEUE", queue) for node in self._nodes for queue in QUEUES):
                break
            time.sleep(0.2)
        youngest = max(life.started for life in self._crew.alive())
        time.sleep(max(0.5, youngest + 3 - time.monotonic()))  # until it heeds SIGTERM
        for node in self._nodes:
            self._look_at(node)

    def _look_at(self, node: ChaosNode) -> None:
        """What is left at a node."""
        with Client(node.address) as client:
            for queue in QUEUES:
                for id_ in node.scan("QUEUE", queue):
                    self._story.left.append(f"{id_.decode()} of {queue}: {client.show(id_)}")
                letters = [DeadLetter.of_body(job.body) for job in
                           client.qpeek(f"{queue}:dead", 10000)]  # fmt: skip
                self._story.letters += [letter for letter in letters if letter]

    def _orphans(self) -> list[str]:
        with contextlib.suppress(TimeoutError):
            self._wait(lambda: not self._crew.orphans(), 10)
        return [str(pid) for pid in self._crew.orphans()]

    def _wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"workers do not work:\n{self._crew.said()[-4000:]}")
            time.sleep(0.05)
        return value

    def _judge(self, seconds: float) -> Outcome:
        ate = {run.worker for runs in self._story.runs.values() for run in runs
               if run.name.startswith("oom")}  # fmt: skip
        for life in self._story.lives.values():
            if life.how == "crash" and life.pid in ate:
                life.how = "oom"
        promises = Promises(self._story)
        violations = [*self._violations, *promises.broken()]
        said = self._crew.said()
        return Outcome(violations, self._story, promises.explained, seconds, said)


def run(plan: Plan) -> Outcome:
    """Run a plan; what was written down is kept when a promise was broken."""
    folder = Path(tempfile.mkdtemp(prefix="pydisque-chaos-workers-"))
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(ChaosNode(plan.durability)) for _ in range(plan.nodes)]
        proxies = stack.enter_context(Proxies())
        outcome = Chaos(plan, folder, nodes, proxies).run()
    if outcome.violations:
        print(f"see {folder}")  # noqa: T201
    else:
        shutil.rmtree(folder)
    return outcome


def main() -> None:
    """Run from the command line; exit with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description="Kill workers, again and again.")
    for name in ("deaths", "rate", "workers", "concurrency", "deliveries"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan(), name))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--executor", choices=("threads", "asyncio", "processes"),
                        default="threads")  # fmt: skip
    parser.add_argument("--modes", default=",".join(DEATHS),
                        help=f"of {', '.join((*DEATHS, *TROUBLES))}")  # fmt: skip
    parser.add_argument("--nodes", type=int, choices=(1, 2), default=1)
    parser.add_argument("--grace", type=float, default=Plan().grace)
    parser.add_argument("--pause", type=float, default=Plan().pause)
    parser.add_argument("--durability", choices=("always", "everysec", "none"), default="always")
    parser.add_argument("--data", help="where to put the nodes' data and the logs")
    options = vars(parser.parse_args())
    tempfile.tempdir = options.pop("data")
    plan = Plan(**{**options, "modes": tuple(options["modes"].split(","))})
    if unknown := set(plan.modes) - set(DEATHS) - set(TROUBLES):
        parser.error(f"no such mode: {', '.join(unknown)}")
    if "failover" in plan.modes and plan.nodes == 1:
        parser.error("failover needs --nodes 2")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    print(f"seed {plan.seed}, {plan.executor}, {','.join(plan.modes)}", flush=True)  # noqa: T201
    outcome = run(plan)
    print(outcome)  # noqa: T201
    sys.exit(bool(outcome.violations))


if __name__ == "__main__":
    main()
