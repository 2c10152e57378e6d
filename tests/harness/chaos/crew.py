"""Worker processes: started, ended in every way, and replaced at once when they are gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from harness.chaos.worker_app import CONFIG, EXECUTOR_FAILED
from harness.chaos.worker_history import Life, Story

TESTS = Path(__file__).parents[2]


class Crew:
    """So many places for workers, each with one at any time until all is over."""

    def __init__(self, story: Story, folder: Path, settings: list[dict[str, Any]]) -> None:
        """Start a worker with each of these settings."""
        self._story = story
        self._folder = folder
        self._settings = settings
        self._over = False
        self._lock = threading.Lock()
        self._waiters: list[threading.Thread] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for slot in range(len(settings)):
            self._start(slot)

    def alive(self) -> list[Life]:
        """The workers there are."""
        with self._lock:
            return [self._story.lives[pid] for pid in self._processes]

    def ready(self) -> list[Life]:
        """Those of them that have begun a job, and that nobody has stopped or told to end."""
        return [
            life
            for life in self.alive()
            if self._story.begins[life.pid]
            and life.broken > time.monotonic()
            and life.told_to_end > time.monotonic()
            and not (life.stops and life.stops[-1][1] > time.monotonic())
        ]

    def kill(self, life: Life) -> None:
        """SIGKILL."""
        life.killed = True
        self._signal(life, signal.SIGKILL)

    def crash(self, life: Life) -> None:
        """A segmentation fault."""
        self._signal(life, signal.SIGSEGV)

    def tell_to_end(self, life: Life) -> None:
        """SIGTERM."""
        life.told_to_end = time.monotonic()
        self._signal(life, signal.SIGTERM)

    def break_executor(self, life: Life) -> None:
        """End what runs its jobs; the worker has to notice that and end."""
        life.broken = time.monotonic()
        self._signal(life, signal.SIGUSR1)

    def stop(self, life: Life, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        now = time.monotonic()
        life.stops.append((now, now + seconds))
        self._signal(life, signal.SIGSTOP)
        timer = threading.Timer(seconds, self._go_on, (life,))
        timer.daemon = True
        timer.start()

    def _go_on(self, life: Life) -> None:
        began, _ = life.stops[-1]
        self._signal(life, signal.SIGCONT)
        life.stops[-1] = (began, time.monotonic())

    def _signal(self, life: Life, signum: signal.Signals) -> None:
        with self._lock:
            if life.pid in self._processes:
                os.kill(life.pid, signum)

    def _start(self, slot: int) -> None:
        environment = {
            **os.environ,
            CONFIG: json.dumps(self._settings[slot]),
            "PYTHONPATH": str(TESTS),
        }
        with (self._folder / f"worker-{slot}").open("ab") as stderr, self._lock:
            if self._over:
                return
            process = subprocess.Popen(
                [sys.executable, "-m", "harness.chaos.worker_app"],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            self._story.lives[process.pid] = Life(process.pid, slot, time.monotonic())
            self._processes[process.pid] = process
            waiter = threading.Thread(target=self._wait, args=(process, slot), daemon=True)
            self._waiters.append(waiter)
            waiter.start()

    def _wait(self, process: subprocess.Popen[bytes], slot: int) -> None:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # not yet gone for `_signal`
        with self._lock:
            del self._processes[process.pid]
        life = self._story.lives[process.pid]
        life.code = process.wait()
        life.ended = time.monotonic()
        life.how = _how(life)
        self._start(slot)

    def dismiss(self) -> None:
        """Have all end in order, and replace none."""
        with self._lock:
            self._over = True
        for life in self.alive():
            self.tell_to_end(life)
        deadline = time.monotonic() + 30
        for waiter in self._waiters:
            waiter.join(max(0.0, deadline - time.monotonic()))
        self.end()

    def end(self) -> None:
        """End whatever is left, children and all."""
        with self._lock:
            self._over = True
        for life in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(life.pid, signal.SIGKILL)
        for waiter in self._waiters:
            waiter.join(10)

    def orphans(self) -> list[int]:
        """Processes of workers that are gone."""
        alive = {life.pid for life in self.alive()}
        sessions = {pid: session for pid, session in _sessions() if session in self._story.lives}
        return [pid for pid, session in sessions.items() if session not in alive]

    def said(self) -> str:
        """What all workers logged."""
        files = sorted(self._folder.glob("worker-*"))
        return "\n".join(file.read_text(errors="replace") for file in files)


def _how(life: Life) -> str:
    if life.code == -signal.SIGKILL and life.killed:
        return "kill"
    if life.code == -signal.SIGSEGV:
        return "segv"
    if life.code == EXECUTOR_FAILED and life.broken <= life.ended:
        return "executor"
    return "term" if life.told_to_end <= life.ended and life.code in (0, 3) else "crash"


def _sessions() -> list[tuple[int, int]]:
    """Every process and its session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                found.append((int(folder.name), int(session)))
    return found
