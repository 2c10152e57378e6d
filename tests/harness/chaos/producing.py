"""Producers that add jobs for workers all the time, and write down which were confirmed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count
from random import Random

from redis.exceptions import RedisError

from harness.chaos.worker_history import RETRY, Add, Story, Task
from pydisque.client import Client

TICK = 0.02


class Producer:
    """One thread that adds jobs to one node at a steady rate."""

    def __init__(self, story: Story, address: str, rate: float, tasks: Callable[[], Task]) -> None:
        self._story = story
        self._rate = rate
        self._tasks = tasks
        self._over = threading.Event()
        self._client = Client(address, deadline=0.5, socket_timeout=20)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Add no more."""
        self._over.set()
        self._thread.join(60)
        self._client.close()

    def add(self, queue: str, tasks: list[Task]) -> None:
        """Add these now."""
        sent = time.monotonic()
        with self._lock:
            pipeline = self._client.pipeline()
            for task in tasks:
                pipeline.add_job(queue, task.body(), retry=RETRY)
            try:
                ids = pipeline.execute(raise_on_error=False)
            except RedisError as error:
                ids = [error] * len(tasks)
        for task, id_ in zip(tasks, ids, strict=True):
            confirmed = isinstance(id_, bytes)
            self._story.counts["adds confirmed" if confirmed else "adds in doubt"] += 1
            self._story.adds.append(Add(task, id_.decode() if confirmed else "", sent))

    def _run(self) -> None:
        began, added = time.monotonic(), 0
        while not self._over.wait(TICK):
            due = int((time.monotonic() - began) * self._rate) - added
            if due > self._rate:  # the node was gone: do not make up for it
                began, added, due = time.monotonic(), 0, 1
            if due:
                self.add("work", [self._tasks() for _ in range(due)])
                added += due


class Mix:
    """Jobs of all kinds at random: mostly short, some longer than their lease, some that fail."""

    def __init__(self, random: Random, long_part: float = 0.01) -> None:
        self._random = random
        self._long = long_part
        self._numbers = count(1)

    def __call__(self) -> Task:
        """The next job."""
        name = f"job-{next(self._numbers)}"
        dice = self._random.random()
        if dice < self._long:
            return Task(name, sleep=self._random.uniform(1.2, 2) * RETRY)
        if dice < self._long + 0.04:
            return Task(name, fails=self._random.choice((1, 2)))
        return Task(name, sleep=self._random.choice((0, 0, 0.001, 0.005, 0.02)))

    def deadly(self, deed: str) -> Task:
        """One that ends its process; mostly once, sometimes for ever."""
        deaths = 99 if self._random.random() < 0.1 else 1
        return Task(f"{deed}-{next(self._numbers)}", deed=deed, deaths=deaths)
