"""Worker processes started and ended by this one: several at once, or one again after each change.

Parent and child share a socket, the lifeline. The child says on it in a line that it works, the
parent says when to stop; when the parent is gone, however it ended, the child reads the end of the
line and stops as gently. No child outlives it for longer than its running jobs do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import click

from pydisque.cli.options.nodes import NOW, STOP, FailedError, shown
from pydisque.service import systemd

logger = logging.getLogger("pydisque.worker")

# Seconds after which a process counts as well begun.
SETTLED = 5.0

# Seconds to wait before a process that ended sooner is replaced, at first and at most.
PAUSE, LONGEST_PAUSE = 0.5, 30.0

NO_RELOAD = "--reload needs watchfiles: pip install 'pydisque[reload]>=1.0'"

# Exit codes of a worker that could not begin; and what one that was killed counts as.
HOPELESS = (2, 3)
FAILED = 3


def supervise(commands: list[list[str]]) -> int:
    """Keep a worker running for each of these command lines, until a signal; the exit code."""
    return asyncio.run(Supervisor(commands).run())


def reload(words: list[str]) -> int:
    """Run a worker with this command line, and again after each change; the exit code."""
    try:
        import watchfiles  # noqa: F401, PLC0415
    except ImportError:
        raise FailedError(NO_RELOAD) from None
    return asyncio.run(Reloader(words).run())


class Child:
    """A worker process, and the lifeline between it and this one."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._writer = writer
        self.begun = asyncio.get_running_loop().time()
        self.first_line = asyncio.create_task(_first_line(reader))
        self.replaced = asyncio.Event()
        self.asked = False

    @classmethod
    async def start(cls, words: list[str]) -> Child:
        """Start one with these words after `pydisque worker`."""
        ours, theirs = socket.socketpair()
        environment = {name: v for name, v in os.environ.items() if name != "NOTIFY_SOCKET"}
        with theirs:
            fd = theirs.fileno()
            command = [sys.executable, "-m", "pydisque", "worker", "--lifeline", str(fd), *words]
            try:
                process = await asyncio.create_subprocess_exec(
                    *command, pass_fds=[fd], env=environment
                )
            except OSError:
                ours.close()
                raise
        return cls(process, *await asyncio.open_connection(sock=ours))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def settled(self) -> bool:
        """Whether it was well begun."""
        return asyncio.get_running_loop().time() - self.begun > SETTLED

    async def works(self) -> str:
        """Wait until it says that it works, and what it says; empty if it ended before."""
        return (await self.first_line).rstrip()

    async def wait(self) -> int:
        """Wait for its end; the exit code, or the number of a signal, less than 0."""
        code = await self._process.wait()
        self._writer.close()
        return code

    def exit_code(self, code: int) -> int:
        """What its end counts as; one that was stopped before it worked has cut nothing short."""
        if not (self.first_line.done() and self.first_line.result()) and code not in HOPELESS:
            return 0
        return FAILED if code < 0 else code

    def say(self, word: bytes) -> None:
        """Tell it to stop, or to stop now."""
        if not self._writer.is_closing():
            self._writer.write(word)


async def _first_line(reader: asyncio.StreamReader) -> str:
    with contextlib.suppress(OSError):
        return (await reader.readline()).decode()
    return ""


class Parent:
    """What signals do to children."""

    def __init__(self) -> None:
        self.children: dict[int, Child] = {}
        self.stopping = asyncio.Event()

    def listen(self) -> None:
        """Handle SIGTERM and SIGINT from now on."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stop)

    def stop(self) -> None:
        """Stop all children; the second time at once."""
        word = NOW if self.stopping.is_set() else STOP
        self.stopping.set()
        systemd.stopping()
        for child in self.children.values():
            child.say(word)

    async def start(self, place: int, words: list[str]) -> Child:
        """Start a child; one that comes too late is stopped as the others were."""
        before = self.children.get(place)
        child = self.children[place] = await Child.start(words)
        if before is not None:
            before.replaced.set()
        if self.stopping.is_set():
            child.say(STOP)
        return child


class Supervisor(Parent):
    """Keeps as many processes as it has command lines."""

    def __init__(self, commands: list[list[str]]) -> None:
        super().__init__()
        self._commands = dict(enumerate(commands))
        self._settled = False
        self._restart = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal, or until none can begin; the worst exit code."""
        self.listen()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._restart.set)
        children = [await self.start(place, words) for place, words in self._commands.items()]
        others = [asyncio.create_task(self._announce(children))]
        others.append(asyncio.create_task(self._restarts()))
        try:
            return max(await asyncio.gather(*map(self._keep, self._commands)))
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _keep(self, place: int) -> int:
        """Replace a process whenever it ends unasked; the exit code of the last one."""
        pause = 0.0
        while True:
            child = self.children[place]
            code = await child.wait()
            self._settled = self._settled or child.settled
            if code in HOPELESS and not self._settled and not self.stopping.is_set():
                self.stop()  # it told why
            if not self.stopping.is_set() and not child.asked:
                pause = 0.0 if child.settled else min(LONGEST_PAUSE, max(PAUSE, pause * 2))
                soon = f"in {pause:g} s" if pause else "now"
                text = "worker process %d, pid %d, %s; another begins %s"
                logger.warning(text, place + 1, child.pid, _ending(code), soon)
                await _within(self.stopping, pause)
            if self.stopping.is_set():
                return child.exit_code(code)
            await self.start(place, self._commands[place])

    async def _announce(self, children: list[Child]) -> None:
        """Say once that all work."""
        said = await asyncio.gather(*(child.works() for child in children))
        if all(said):
            click.echo(f"{len(said)} processes, each {said[0]}")
        systemd.ready()

    async def _restarts(self) -> None:
        """Replace the processes one by one, whenever that is asked for."""
        while True:
            await self._restart.wait()
            self._restart.clear()
            logger.info("replacing %d worker processes", len(self.children))
            for place in self._commands:
                child = self.children[place]
                child.asked = True
                child.say(STOP)
                await child.replaced.wait()
                await self.children[place].works()
            logger.info("all worker processes are replaced")


class Reloader(Parent):
    """Runs one process, and another after each change of a .py file."""

    def __init__(self, words: list[str]) -> None:
        super().__init__()
        self._words = words
        self._changes: set[str] = set()
        self._changed = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal; the exit code of the last process."""
        self.listen()
        self._watching = asyncio.create_task(self._watch())
        try:
            return await self._run()
        finally:
            self.stopping.set()  # which ends the watching
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _run(self) -> int:
        while True:
            child = await self.start(0, self._words)
            announce = asyncio.create_task(self._announce(child))
            ended = asyncio.create_task(child.wait())
            await self._until_changed(ended)
            if not ended.done():
                child.say(STOP)
            elif not self.stopping.is_set():
                logger.warning(
                    "the worker %s; it begins again after a change", _ending(await ended)
                )
                await self._until_changed()
            code = await ended
            announce.cancel()
            if self.stopping.is_set():
                return child.exit_code(code)

    async def _until_changed(self, *others: asyncio.Task[Any]) -> None:
        """Wait for a change, for one of the others, or for the end."""
        events = [asyncio.create_task(event.wait()) for event in (self._changed, self.stopping)]
        waiting = (self._watching, *events, *others)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for event in events:
            event.cancel()
        if self._watching.done():
            self._watching.result()  # it ends by itself only when it fails
        if self._changed.is_set() and not self.stopping.is_set():
            logger.info("changed, beginning again: %s", ", ".join(sorted(self._changes)))
            self._changed.clear()
            self._changes.clear()

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch  # noqa: PLC0415

        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        here = Path.cwd()
        async for changes in awatch(here, watch_filter=PythonFilter(), stop_event=self.stopping):
            self._changes.update(_short(path) for _, path in changes)
            self._changed.set()

    async def _announce(self, child: Child) -> None:
        if said := await child.works():
            click.echo(said)
            systemd.notify("READY=1")


def _short(path: str) -> str:
    with contextlib.suppress(ValueError):
        path = str(Path(path).relative_to(Path.cwd()))
    return shown(path)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it happens within so many seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
