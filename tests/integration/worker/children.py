"""Handlers that start processes of their own; what they see they write down."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

from pydisque.worker import WorkerJob

from .handlers import note

SLEEP = ["sleep", "600"]


def child(job: WorkerJob) -> None:
    """Do what the body says."""
    word, _, argument = job.body.decode().partition(" ")
    globals()[f"do_{word}"](job, argument)


def do_nothing(job: WorkerJob, argument: str) -> None:
    note(job, "done")


def do_signal(job: WorkerJob, argument: str) -> None:
    """Start a program and end it by a signal."""
    process = subprocess.Popen(SLEEP)
    process.send_signal(signal.Signals[argument])
    note(job, str(process.wait(5)))


def do_terminate(job: WorkerJob, argument: str) -> None:
    """The same by a forked child, which executes nothing."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    os.kill(process.pid, signal.Signals[argument])
    process.join(5)
    note(job, str(process.exitcode))


def do_reap(job: WorkerJob, argument: str) -> None:
    note(job, str(subprocess.run(["false"], check=False).returncode))


def do_pool(job: WorkerJob, argument: str) -> None:
    """Use a pool of processes, and end it by force."""
    with multiprocessing.get_context(argument or None).Pool(2) as pool:
        note(job, ",".join(map(str, pool.map(abs, [-1, -2]))))


def do_leave(job: WorkerJob, argument: str) -> None:
    """Leave a program behind, and take long, crash or return."""
    note(job, str(subprocess.Popen(SLEEP).pid))
    if argument == "wait":
        time.sleep(600)
    if argument == "segfault":
        ctypes.string_at(0)


def do_shell(job: WorkerJob, argument: str) -> None:
    """Leave a program behind that has all open files, and crash."""
    os.system("sleep 600 & echo $! >> $NOTES.pids")
    ctypes.string_at(0)


def do_fork(job: WorkerJob, argument: str) -> None:
    """Fork; the child goes on in some way, and the job ends later, and well."""
    pid = os.fork()
    if pid == 0:
        if argument == "exit":
            sys.exit(3)
        if argument == "fail":
            raise ValueError
        if argument == "thread":
            threading.Thread(target=time.sleep, args=(0,)).start()
        return
    status = os.waitpid(pid, 0)[1]
    time.sleep(0.2)
    note(job, str(os.waitstatus_to_exitcode(status)))


def do_term(job: WorkerJob, argument: str) -> None:
    """As when a service manager signals all processes of a worker."""
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    note(job, "went-on")


async def forks(job: WorkerJob) -> None:
    """The same in a coroutine."""
    child(job)
