"""The worker of a soak, in a process of its own; tells on stdout, a line of JSON at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time

from harness.soak.samples import percentile
from pydisque.worker import Backoff, Worker, WorkerJob

INTERVAL = 5.0


class Figures:
    """What the handlers saw since the last line."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.done = 0
        self._lock = threading.Lock()

    def begun(self, job: WorkerJob) -> tuple[bool, float]:
        """A job begins; whether it is to fail now, and the seconds it takes."""
        added, fails, sleep, _ = job.body.split(b" ", 3)
        if not job.nacks:
            self.waits.append(time.monotonic() - float(added))
        return fails == b"1" and not job.nacks, float(sleep)

    def ended(self) -> None:
        """A job was run to its end."""
        with self._lock:
            self.done += 1

    def line(self, worker: Worker) -> str:
        """All that is told."""
        waits, self.waits = self.waits, []
        figures = {
            "time": time.monotonic(),
            "done": self.done,
            "p50": percentile(waits, 0.5) * 1000,
            "p99": percentile(waits, 0.99) * 1000,
            "tasks": _tasks(worker),
        }
        return json.dumps(figures)


figures = Figures()


def work(job: WorkerJob) -> None:
    """Do what the body says."""
    fails, sleep = figures.begun(job)
    if sleep:
        time.sleep(sleep)
    if fails:
        raise ValueError("as the body says")
    figures.ended()


async def work_async(job: WorkerJob) -> None:
    """The same, as a coroutine."""
    fails, sleep = figures.begun(job)
    if sleep:
        await asyncio.sleep(sleep)
    if fails:
        raise ValueError("as the body says")
    figures.ended()


def _tasks(worker: Worker) -> int:
    """The tasks of the core's loop, and of that of the jobs if there is one."""
    core = worker._core
    loops = [worker._loop, getattr(core and core._executor, "_loop", None)]
    return sum(len(asyncio.all_tasks(loop)) for loop in loops if loop is not None)


def _tell(worker: Worker) -> None:
    while True:
        time.sleep(INTERVAL)
        os.write(1, f"{figures.line(worker)}\n".encode())


def main() -> None:
    """Work for the node and with the executor given, until told to end."""
    logging.getLogger("pydisque.worker").setLevel(logging.ERROR)
    address, executor = sys.argv[1:]
    worker = Worker(address, executor=executor, concurrency=16)
    worker.handler("soak", backoff=Backoff(1, 1))(work_async if executor == "asyncio" else work)
    threading.Thread(target=_tell, args=(worker,), daemon=True).start()
    cut = worker.run()
    os.write(1, f"{figures.line(worker)}\n".encode())
    sys.exit(cut)


if __name__ == "__main__":
    main()
