"""Handlers where another process finds them; what they see they write to a file, a line each."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from pathlib import Path

from pydisque.worker import Dead, Drop, Retry, WorkerJob


def note(job: WorkerJob, word: str = "") -> None:
    """Write down that this job ran; a line is written whole, whoever else writes."""
    line = f"{job.id} {job.attempt} {os.getpid()} {word}\n"
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(line)


def plain(job: WorkerJob) -> None:
    """Do what the body says."""
    note(job)
    word, _, argument = job.body.decode().partition(" ")
    if word == "sleep":
        time.sleep(float(argument))
    elif word == "fail":
        raise ValueError(argument)
    elif word == "retry":
        raise Retry(in_seconds=int(argument))
    elif word == "drop":
        raise Drop
    elif word == "dead":
        raise Dead(argument)
    elif word == "exit":
        sys.exit(3)
    elif word == "segfault":
        ctypes.string_at(0)
    elif word == "until-lost":
        while not job.lease_lost:
            time.sleep(0.01)
        note(job, "lost")


async def awaited(job: WorkerJob) -> None:
    """The same, as a coroutine."""
    word, _, argument = job.body.decode().partition(" ")
    if word == "sleep":
        note(job)
        await asyncio.sleep(float(argument))
    elif word == "until-lost":
        note(job)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note(job, "lost")
            raise
    else:
        plain(job)


class UnpicklableError(Exception):
    """An error that no other process can be sent."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__()
        self.parts = (one, two, lambda: None)


def reverse(body: bytes) -> str:
    """Decode in an unusual way."""
    return body.decode()[::-1]


def value(job: WorkerJob) -> None:
    """Note what the body was decoded to."""
    note(job, job.value)


def odd(job: WorkerJob) -> None:
    """Fail in an odd way."""
    note(job)
    raise UnpicklableError(1, 2)
