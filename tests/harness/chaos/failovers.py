"""Have nodes and the Valkey that their jobs are in fail, while all work: `make chaos-valkey`.

Three nodes are on a primary and its replicas under Sentinels, or on a Cluster of three primaries.
Producers and consumers use them all, while nodes are killed and stopped, primaries too, connections
are cut, replicas take the place of living primaries and shards are moved. After each fault all has
to be well again by itself; at the end every queue is drained, and all that was told to anybody is
held against what it has to keep (see store_promises.py).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.chaos import stores
from harness.chaos.history import History
from harness.chaos.store_clients import QUEUES, Busy, Consumer, Producer, World
from harness.chaos.store_promises import Promises, Trouble, Violation, is_documented
from harness.chaos.store_watch import Probe, Sample, growth, sample
from harness.chaos.stores import Cluster, Sentinels, Stores
from pydisque.client.requeue import at_most_once
from support.servers import NodeProcess, until

NODE_FAULTS = ("kill-node", "stop-node")
REPLACEMENTS = ("replace", "hang-primary")
"""Faults by which another server takes the place of a primary that lives."""
VALKEY_FAULTS = (
    "kill-primary", "kill-replica", "stop-primary", "hang-replica", "cut", "failover",
    *REPLACEMENTS,
)  # fmt: skip
CLUSTER_FAULTS = ("reshard", "migrate")
SENTINEL_FAULTS = ("partition",)
"""Faults for which servers are reached through proxies."""
FAULTS = (*NODE_FAULTS, *VALKEY_FAULTS, *CLUSTER_FAULTS, *SENTINEL_FAULTS)
TOPOLOGIES = ("sentinel", "cluster")

RECOVERY = 30
"""Seconds within which all works again after a fault; more is a broken promise. A Sentinel lets a
primary that came back go on for ten before it makes it a replica."""
DRAIN = 60
MOST_FILES, MOST_MEMORY = 20, 64 * 1024
"""Descriptors, besides those of its clients, and KiB by which a node may grow."""


class Plan(NamedTuple):
    """What a run does."""

    topology: str = "sentinel"
    faults: int = 50
    seed: int = 0
    replicate: int = 1
    modes: tuple[str, ...] = FAULTS
    appendonly: str = "none"
    """When Valkey's servers write to their disks: ``none``, ``everysec`` or ``always``."""
    pause: float = 1.5
    """Seconds between two faults at most."""
    nodes: int = 3
    producers: int = 4
    consumers: int = 4
    timeout: int = 2
    """The nodes' ``store-timeout``."""
    priorities: tuple[int, ...] = (100,)
    """The ``replica-priority`` of each replica of a primary."""


class Outcome(NamedTuple):
    """What came of it."""

    violations: list[Violation]
    """Promises that were broken."""
    costs: list[Violation]
    """What was not promised, and would have been with copies."""
    history: History
    troubles: list[Trouble]
    growth: tuple[int, int]
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{violation.what}\n{violation.job.tell(self.history.started) if violation.job else ''}"
            for violation in self.violations[:10]
        ]
        if self.violations:
            lines += [self._when(trouble) for trouble in self.troubles]
        rows = [*self._figures(), ("seconds of -NOREPL", f"{self.history.refused_for():.1f}")]
        rows.append(("promises broken", str(len(self.violations))))
        rows.append(("seconds", f"{self.seconds:.0f}"))
        width = max(len(name) for name, _ in rows)
        return "\n".join([*lines, *(f"{name:{width}} {figure:>12}" for name, figure in rows)])

    def _when(self, trouble: Trouble) -> str:
        began, over, healthy, served = (when - self.history.started for when in trouble[1:])
        when = f"Valkey well at {healthy:.3f}, nodes at {served:.3f}"
        return f"  {trouble.kind}: {began:.3f} to {over:.3f}, {when}"

    def _figures(self) -> Iterator[tuple[str, str]]:
        for name, number in sorted(self.history.counts.items()):
            yield name, str(number)
        for what, number in sorted(Counter(one.what for one in self.violations).items()):
            yield f"broken: {what}", str(number)
        for what, number in sorted(Counter(cost.what for cost in self.costs).items()):
            yield f"without copies: {what}", str(number)
        kinds: dict[str, list[Trouble]] = {}
        for trouble in self.troubles:
            for kind in (trouble.kind, "any"):
                kinds.setdefault(kind, []).append(trouble)
        for kind, troubles in sorted(kinds.items()):
            whole = _middle_and_most(one.served - one.over for one in troubles)
            later = _middle_and_most(max(0.0, one.served - one.healthy) for one in troubles)
            yield f"seconds until well after {kind} ({len(troubles)})", whole
            yield "    of these after Valkey was", later
        files, memory = self.growth
        yield "a node grew by, descriptors", str(files)
        yield "a node grew by, KiB", str(memory)


def _middle_and_most(seconds: Iterable[float]) -> str:
    found = list(seconds)
    return f"{statistics.median(found):.2f} {max(found):6.2f}"


class Chaos:
    """One run."""

    def __init__(self, plan: Plan, servers: Stores, nodes: list[NodeProcess]) -> None:
        self._plan = plan
        self._stores = servers
        self._nodes = nodes
        self._random = random.Random(plan.seed)
        self._started = time.monotonic()
        self._history = History(self._started)
        self._world = World(self._history, plan.replicate)
        self._probe = Probe([node.address for node in nodes])
        self._violations: list[Violation] = []
        self._troubles: list[Trouble] = []
        self._samples: list[Sample] = []

    def run(self) -> Outcome:
        """Do it all."""
        with self._clients() as clients:
            until(self._probe.well, RECOVERY)
            self._look_at_nodes()
            for _ in range(self._plan.faults):
                time.sleep(self._random.uniform(0.1, self._plan.pause))
                self._trouble(self._random.choice(self._kinds()))
                self._world.check()
            self._world.producing = False
            self._drain(clients)
        self._check_empty()
        return self._judge()

    def _kinds(self) -> list[str]:
        clustered = isinstance(self._stores, Cluster)
        others = SENTINEL_FAULTS if clustered else CLUSTER_FAULTS
        return [one for one in self._plan.modes if one not in others]

    @contextlib.contextmanager
    def _clients(self) -> Iterator[list[Busy]]:
        plan, world = self._plan, self._world
        nodes = [node.address for node in self._nodes]
        names = [f"producer-{n}" for n in range(plan.producers - 1)] + ["sure-producer"]
        clients: list[Busy] = [
            Producer(world, name, nodes, f"{plan.seed} {name}") for name in names
        ]
        names = [f"consumer-{n}" for n in range(plan.consumers)]
        clients += [Consumer(world, name, nodes, f"{plan.seed} {name}") for name in names]
        with world.at_work(clients):
            yield clients

    # Faults

    def _trouble(self, kind: str) -> None:
        """One fault, at times with another beside it, and wait until all is well."""
        until(self._stores.healthy, stores.SETTLED)
        self._history.add_count(f"fault: {kind}")
        began = time.monotonic()
        beside = self._random.choice((*NODE_FAULTS, "")) if self._random.random() < 0.3 else ""
        if kind in NODE_FAULTS or beside not in self._plan.modes:
            beside = ""
        if beside:
            self._history.add_count(f"fault: {beside}, beside another")
            other = threading.Thread(target=self._do, args=(beside, self._random.random()))
            other.start()
        self._do(kind, self._random.random())
        if beside:
            other.join()
        self._recover(kind, began)

    def _do(self, kind: str, seed: float) -> None:
        choose = random.Random(seed)
        todo: dict[str, Callable[[random.Random], None]] = {
            "kill-node": self._kill_node,
            "stop-node": self._stop_node,
            "kill-primary": self._stores.kill_primary,
            "kill-replica": self._stores.kill_replica,
            "stop-primary": self._stores.stop_primary,
            "hang-primary": self._stores.hang_primary,
            "hang-replica": self._stores.hang_replica,
            "replace": self._stores.replace,
            "cut": self._stores.cut,
            "failover": self._stores.fail_over,
        }
        if isinstance(self._stores, Cluster):
            todo |= {"reshard": self._stores.reshard, "migrate": self._stores.migrate}
        if isinstance(self._stores, Sentinels):
            todo["partition"] = self._stores.partition
        try:
            todo[kind](choose)
        except BaseException as error:  # noqa: BLE001 - it may be in a thread of its own
            self._world.failures.append(error)

    def _kill_node(self, choose: random.Random) -> None:
        node = choose.choice(self._nodes)
        node.kill()
        time.sleep(choose.uniform(0, 2))
        until(lambda: self._started_again(node), stores.SETTLED)

    def _started_again(self, node: NodeProcess) -> bool:
        """Start it as something that looks after it would, however often that takes."""
        try:
            node.start()
        except AssertionError:  # there is no Valkey just now
            self._history.add_count("nodes started in vain")
            time.sleep(0.3)
            return False
        return True

    def _stop_node(self, choose: random.Random) -> None:
        """For longer than a lease, at times for longer than the others take it for alive."""
        node = choose.choice(self._nodes)
        node.signal(signal.SIGSTOP)
        time.sleep(choose.choice((2.5, 3.5, 6.5)))
        node.signal(signal.SIGCONT)

    def _recover(self, kind: str, began: float) -> None:
        """Wait until Valkey is well again, and all nodes as well."""
        over = time.monotonic()
        healthy = served = 0.0
        while not (healthy and served):
            if not healthy and self._stores.healthy():
                healthy = time.monotonic()
            if not served and self._probe.well():
                served = time.monotonic()
            if time.monotonic() > over + RECOVERY:
                what = self._probe.last if healthy else "Valkey is not well itself"
                what = f"{RECOVERY} s after {kind} all is not well: {what}"
                self._violations.append(Violation(what, None))
                break
            time.sleep(0.05)
        now = time.monotonic()
        self._troubles.append(Trouble(kind, began, over, healthy or now, served or now))
        self._look_at_nodes()

    def _look_at_nodes(self) -> None:
        with contextlib.suppress(OSError):  # it may be unwell yet, which was noted
            self._samples += [sample(node) for node in self._nodes]

    # The end

    def _drain(self, clients: list[Busy]) -> None:
        for client in clients:
            if isinstance(client, Producer):
                client.join()
        self._world.draining = True
        with contextlib.suppress(TimeoutError):
            self._wait(lambda: not any(self._left(queue) for queue in QUEUES), DRAIN)

    @staticmethod
    def _wait(condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.1)

    def _left(self, queue: bytes) -> list[bytes]:
        """The jobs that will be delivered again; at most once is not, acknowledged or not."""
        return [id_ for id_ in self._nodes[0].jobs(queue.decode()) if not at_most_once(id_)]

    def _check_empty(self) -> None:
        for queue in QUEUES:
            for id_ in self._left(queue):
                of = (job for job in self._history.jobs.values()
                      if any(event.id == id_ for event in job.events))  # fmt: skip
                job = next(of, None)
                self._violations.append(Violation("left though all is done", job))

    def _judge(self) -> Outcome:
        found = list(Promises(self._history, self._troubles, self._plan.replicate).broken())
        self._violations += [one for one in found if one.fatal]
        for error in self._world.errors:
            if not is_documented(error):
                self._violations.append(Violation(f"nobody is told of this: {error!r}", None))
        grown = files, memory = growth(self._samples)
        if files > MOST_FILES or memory > MOST_MEMORY:
            what = f"a node grew by {files} descriptors and {memory} KiB"
            self._violations.append(Violation(what, None))
        costs = [one for one in found if not one.fatal]
        seconds = time.monotonic() - self._started
        return Outcome(self._violations, costs, self._history, self._troubles, grown, seconds)


@contextlib.contextmanager
def _nodes(plan: Plan, servers: Stores, log: Path) -> Iterator[list[NodeProcess]]:
    url = servers.url
    options = [
        *("--store", f"{url}{'&' if '?' in url else '?'}shards={servers.shards}"),
        *("--replicate", str(plan.replicate), "--store-timeout", str(plan.timeout)),
    ]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(NodeProcess(*options, log=log / f"node-{number}"))
            for number in range(plan.nodes)
        ]


def run(plan: Plan) -> Outcome:
    """Run a plan."""
    choose = random.Random(f"{plan.seed} topology")
    with (
        tempfile.TemporaryDirectory(prefix="pydisque-chaos-nodes-") as folder,
        stores.running(
            plan.topology,
            plan.appendonly,
            choose,
            plan.priorities,
            parted=bool({*plan.modes} & {*SENTINEL_FAULTS}),
        ) as servers,
        _nodes(plan, servers, Path(folder)) as nodes,
    ):
        logs = {file.name: file for file in Path(folder).iterdir()}
        try:
            outcome = Chaos(plan, servers, nodes).run()
        except BaseException as error:
            for name, file in logs.items():
                error.add_note(f"{name} said last: {file.read_text(errors='replace')[-2000:]}")
            raise
        for name, file in logs.items():
            text = file.read_text(errors="replace")
            if "Traceback" in text:
                at = text.index("Traceback")
                what = f"{name} said: {text[max(0, at - 500) : at + 4000]}"
                outcome.violations.append(Violation(what, None))
            outcome.history.add_count("lines the nodes logged", text.count("\n"))
        return outcome


def main() -> None:
    """Run from the command line; exit with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description="Have nodes and their Valkey fail.")
    parser.add_argument("--topology", choices=TOPOLOGIES, default=TOPOLOGIES[0])
    for name in ("faults", "replicate", "nodes", "producers", "consumers", "timeout"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan(), name))
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--modes", default=",".join(FAULTS), help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--appendonly", choices=("none", "everysec", "always"), default="none")
    parser.add_argument("--pause", type=float, default=Plan().pause)
    parser.add_argument(
        "--priorities", default="100", help="replica-priority of each replica, as in 100,100,0"
    )
    options = vars(parser.parse_args())
    options["modes"] = tuple(options["modes"].split(","))
    options["priorities"] = tuple(map(int, options["priorities"].split(",")))
    plan = Plan(**options)
    if unknown := set(plan.modes) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    print(f"seed {plan.seed}, {plan.topology}, replicate {plan.replicate}", flush=True)  # noqa: T201
    outcome = run(plan)
    print(outcome)  # noqa: T201
    sys.exit(bool(outcome.violations))


if __name__ == "__main__":
    main()
