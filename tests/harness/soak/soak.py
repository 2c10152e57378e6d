"""A worker under steady load for minutes: `make soak`.

A durable node, one worker process, and a producer that adds jobs at a steady rate. Every few
seconds it is noted what node and worker take of the machine and how long jobs wait; in the end
neither may have grown, and every job must be done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.soak.samples import MEBI, Sample, Usage, faults, growth
from pydisque.client import Client
from support.servers import NodeProcess

TESTS = Path(__file__).parents[2]
TICK = 0.01
DRAIN = 60.0
COLUMNS = (
    "   s |  added/s   done/s queued | p50 ms  p99 ms | worker: MiB  fds thr tasks  cpu% "
    "| node: MiB  fds thr  cpu%"
)


class Producer(threading.Thread):
    """Adds jobs, some of which sleep, some of which fail once."""

    def __init__(self, address: str, rate: float) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._rate = rate
        self._random = Random(0)
        self.over = threading.Event()
        self.added = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Add until told that it is over."""
        try:
            with Client(self._address) as client:
                began = time.monotonic()
                while not self.over.wait(TICK):
                    due = int((time.monotonic() - began) * self._rate) - self.added
                    ids = client.add_jobs("soak", [self._body() for _ in range(due)], retry=60)
                    for id_ in ids:
                        if isinstance(id_, Exception):
                            raise id_  # noqa: TRY301 - told in the end
                    self.added += len(ids)
        except BaseException as error:  # noqa: BLE001 - told in the end
            self.failure = error

    def _body(self) -> bytes:
        choose = self._random
        sleep = choose.choice((0.002, 0.005)) if choose.random() < 0.2 else 0
        words = (time.monotonic(), int(choose.random() < 0.005), sleep)
        return f"{' '.join(map(str, words))} ".encode().ljust(choose.randint(100, 1000), b"x")


def usage(pid: int) -> Usage:
    """What a process takes now."""
    folder = Path("/proc", str(pid))
    status = dict(
        line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
    )
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    return Usage(
        int(status["VmRSS"].split()[0]) * 1024,
        len(list((folder / "fd").iterdir())),
        int(status["Threads"]),
        sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
    )


@contextmanager
def worker_process(address: str, executor: str) -> Iterator[subprocess.Popen[str]]:
    """A worker; what it logs is for nobody."""
    with subprocess.Popen(
        [sys.executable, "-m", "harness.soak.worker_app", address, executor],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Soak:
    """One run."""

    def __init__(self, node: NodeProcess, worker: subprocess.Popen[str], rate: float) -> None:
        self._node = node
        self._worker = worker
        self._producer = Producer(node.address, rate)
        self.samples: list[Sample] = []
        self.left = 0

    def run(self, seconds: float) -> None:
        """Load it for so long, and wait until all is done."""
        self._began = time.monotonic()
        self._producer.start()
        print(COLUMNS)  # noqa: T201
        while time.monotonic() - self._began < seconds and not self._producer.failure:
            self._sample()
            print(_row(self.samples), flush=True)  # noqa: T201
        self._producer.over.set()
        self._producer.join()
        if self._producer.failure:
            raise self._producer.failure
        self._drain()

    def faults(self, most_growth: float) -> list[str]:
        """What is not as it should be."""
        return list(faults(self.samples, self.left, most_growth))

    def _sample(self) -> None:
        """Wait for the worker's next line, and look at the rest then."""
        assert self._worker.stdout
        line = self._worker.stdout.readline()
        assert line, "the worker ended by itself"
        told = json.loads(line)
        self.samples.append(
            Sample(
                told["time"] - self._began,
                usage(self._worker.pid),
                usage(self._node.pid),
                self._producer.added,
                told["done"],
                self._node.ask("QLEN", "soak"),
                told["p50"],
                told["p99"],
                told["tasks"],
            )
        )

    def _drain(self) -> None:
        """Until all is done; the last sample says how much was."""
        deadline = time.monotonic() + DRAIN
        while (jobs := self._node.jobs("soak")) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.left = len(jobs) + self._node.ask("QLEN", "soak:dead")
        last = self.samples[-1]
        for _ in range(2):  # the first line may be from before
            self._sample()
        end = self.samples.pop()
        self.samples[-1] = last._replace(added=end.added, done=end.done)
        self.samples.pop(-2)


def _row(samples: list[Sample]) -> str:
    """The last sample in the table."""
    now = samples[-1]
    nothing = Usage(0, 0, 0, 0.0)
    before = samples[-2] if len(samples) > 1 else Sample(0, nothing, nothing, 0, 0, 0, 0, 0, 0)
    took = now.seconds - before.seconds
    worker, node = now.worker, now.node
    return (
        f"{now.seconds:5.0f}| {(now.added - before.added) / took:8.0f} "
        f"{(now.done - before.done) / took:8.0f} {now.queued:6} "
        f"|{now.p50:7.1f} {now.p99:7.1f} "
        f"| {worker.rss / MEBI:11.1f} {worker.descriptors:4} {worker.threads:3} {now.tasks:5} "
        f"{100 * (worker.cpu - before.worker.cpu) / took:5.0f} "
        f"| {node.rss / MEBI:9.1f} {node.descriptors:4} {node.threads:3} "
        f"{100 * (node.cpu - before.node.cpu) / took:5.0f}"
    )


def main() -> None:
    """Run from the command line; exit with 1 when something grows or is not done."""
    parser = argparse.ArgumentParser(description="Load a worker steadily for minutes.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1000, help="jobs added in a second")
    parser.add_argument("--executor", choices=("threads", "asyncio"), default="threads")
    parser.add_argument("--growth", type=float, default=1.0, help="most MiB a minute")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        NodeProcess("--data", folder) as node,
        worker_process(node.address, options.executor) as worker,
    ):
        soak = Soak(node, worker, options.rate)
        soak.run(options.minutes * 60)
    found = soak.faults(options.growth)
    growths = {
        who: growth(soak.samples, lambda sample: getattr(sample, who).rss / MEBI)  # noqa: B023
        for who in ("worker", "node")
    }
    last = soak.samples[-1]
    print(f"jobs added {last.added}, done {last.done}")  # noqa: T201
    print(*(f"{who}: {by:+.2f} MiB a minute" for who, by in growths.items()), sep="\n")  # noqa: T201
    print("\n".join(found) or "sound: nothing grows, every job is done")  # noqa: T201
    if options.json:
        rows = [_plain(sample) for sample in soak.samples]
        options.json.write_text(
            json.dumps({"samples": rows, "growth": growths, "faults": found}, indent=1)
        )
    sys.exit(bool(found))


def _plain(sample: Sample) -> dict[str, Any]:
    return sample._asdict() | {
        "worker": sample.worker._asdict(),
        "node": sample.node._asdict(),
    }


if __name__ == "__main__":
    main()
