"""Runs the live view: looks at the nodes now and then, reads keys, draws.

All that waits is here. Every look and every key changes the scene or the state, and then a frame is
drawn, so that the screen answers keys while a node does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from redis.exceptions import RedisError

from pydisque.cli.options.nodes import number
from pydisque.cli.top.columns import queue_name
from pydisque.cli.top.keys import Keys
from pydisque.cli.top.rendering import frame, needed, room_for, visible
from pydisque.cli.top.state import Pause, Quit, Scene, State, View, press
from pydisque.cli.top.terminal import Terminal
from pydisque.monitoring.jobs import QUEUED, JobList, find_job
from pydisque.monitoring.monitor import Survey
from pydisque.protocol.replies import JobInfo

ESC_SECONDS = 0.05
"""After which Esc is the key and no beginning of another one."""

PIECE_SECONDS = 0.2
"""After which more of the first look is shown."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def watch(nodes: Sequence[str], state: State, interval: float) -> None:
    """Show a system until somebody ends it.

    Raises:
        RedisError: no node could be asked at the start.
    """
    survey = Survey(nodes)
    first = asyncio.create_task(survey.look())
    try:
        await _begun(first, survey)
        with Terminal() as terminal:
            ended = await _Live(survey, terminal, state, interval).run(first)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await survey.aclose()
    if ended in (signal.SIGTERM, signal.SIGHUP):  # whoever sent it wants to see us die of it
        os.kill(os.getpid(), ended)


async def _begun(look: asyncio.Task[None], survey: Survey) -> None:
    """Wait until a look found something to show, or ended."""
    while not look.done() and not survey.queues:
        await asyncio.wait((look,), timeout=0.02)
    if look.done():
        look.result()


class _Live:
    """What is shown, and the tasks that change it."""

    def __init__(self, survey: Survey, terminal: Terminal, state: State, interval: float) -> None:
        self._survey = survey
        self._terminal = terminal
        self._state = state
        self._interval = interval
        self._scene = Scene()
        self._keys = Keys()
        self._esc: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._hurry = asyncio.Event()
        """Set when what is looked at changed, and should not wait for the next look."""
        self._due = self._loop.time() + interval
        """When all is looked at again."""
        self._painting = False
        self._acting: set[asyncio.Task[None]] = set()
        self._jobs: JobList | None = None
        self._jobs_of: tuple[bytes, str] | None = None
        self._job: JobInfo | None = None
        self._job_of: bytes | None = None

    async def run(self, first: asyncio.Task[None]) -> int:
        """Go on until it is ended, from a first look that is under way; by which signal, or 0."""
        self._loop.add_reader(self._terminal.fd, self._read)
        for signum in ENDING:
            self._loop.add_signal_handler(signum, self._end, signum)
        self._loop.add_signal_handler(signal.SIGWINCH, self._paint_soon)
        self._loop.add_signal_handler(signal.SIGTSTP, self._stop)
        self._loop.add_signal_handler(signal.SIGCONT, self._go_on)
        self._take_in()
        self._paint()
        looking = asyncio.create_task(self._look_on(first))
        try:
            await asyncio.wait((looking, self._ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_reader(self._terminal.fd)
            for task in (looking, *self._acting):
                task.cancel()
            results = await asyncio.gather(looking, *self._acting, return_exceptions=True)
            for signum in (*ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT):
                self._loop.remove_signal_handler(signum)
        if not self._ended.done() and isinstance(results[0], Exception):
            raise results[0]
        return self._ended.result()

    # Looking

    async def _look_on(self, first: asyncio.Task[None]) -> None:
        while not first.done():  # a large system is shown piece by piece
            await asyncio.wait((first,), timeout=PIECE_SECONDS)
            self._take_in()
            self._paint_soon()
        self._take_note(first.exception())
        while True:
            self._hurry.clear()
            await self._look()
            self._take_in()
            self._paint_soon()
            left = self._rest()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):  # wait_for of Python 3.11 may swallow the end
                    await self._hurry.wait()

    async def _look(self) -> None:
        """Look at all if it is time, and at what is looked into."""
        try:
            if not self._state.frozen:
                if self._loop.time() >= self._due:
                    await self._look_at_all()
                if seen := self._seen():
                    await self._survey.ask_oldest(seen)
            if not self._state.frozen or not self._is_known():
                await self._look_into()
        except RedisError as error:
            self._take_note(error)

    async def _look_at_all(self) -> None:
        self._survey.watched = set(self._seen())
        try:
            await self._survey.look()
        finally:
            self._due = self._loop.time() + self._interval
        self._take_note(None)

    def _rest(self) -> float | None:
        """Seconds after which to look again; None: not before a key wants it."""
        if not self._state.frozen:
            return max(self._due - self._loop.time(), 0)
        return None if self._is_known() else self._interval

    def _take_note(self, error: BaseException | None) -> None:
        """Keep why nothing is known of now, or that it is."""
        if error is not None and not isinstance(error, RedisError):
            raise error
        self._scene.trouble = "" if error is None else str(error)

    async def _look_into(self) -> None:
        place = self._state.place
        if place.view == View.QUEUE:
            if self._jobs is None or self._jobs_of != (place.subject, self._state.jobs):
                self._jobs_of = place.subject, self._state.jobs
                self._jobs = JobList(self._survey, *self._jobs_of)
            await self._jobs.look(needed(self._state, self._scene, self._terminal.size))
        elif place.view == View.JOB:
            self._job = await find_job(self._survey, place.subject)
            self._job_of = place.subject

    def _is_known(self) -> bool:
        """Whether what is looked into was asked for, all of it."""
        match self._state.place.view:
            case View.QUEUE:
                return self._looks_at_jobs() and self._jobs is not None and self._jobs.complete
            case View.JOB:
                return self._looks_at_job()
            case _:
                return True

    def _looks_at_jobs(self) -> bool:
        """Whether the jobs that were asked for last are those that are looked at."""
        place = self._state.place
        return place.view == View.QUEUE and self._jobs_of == (place.subject, self._state.jobs)

    def _looks_at_job(self) -> bool:
        """Likewise the one job."""
        place = self._state.place
        return place.view == View.JOB and self._job_of == place.subject

    def _seen(self) -> list[bytes]:
        return visible(self._state, self._scene, self._terminal.size)

    def _take_in(self) -> None:
        survey, scene = self._survey, self._scene
        scene.queues, scene.nodes, scene.samples = survey.queues, survey.nodes, survey.samples
        scene.complete, scene.others = survey.complete, survey.queue_count - len(survey.queues)
        scene.renew()
        if self._jobs is not None and self._looks_at_jobs():
            known = self._jobs.complete or self._jobs.jobs
            scene.jobs = self._jobs.jobs if known else None
            scene.jobs_complete = self._jobs.complete
        if self._looks_at_job():
            scene.job, scene.job_asked = self._job, True

    # Drawing

    def _paint_soon(self) -> None:
        if not self._painting:
            self._painting = True
            self._loop.call_soon(self._paint)

    def _paint(self) -> None:
        self._painting = False
        try:
            self._terminal.paint(frame(self._state, self._scene, self._terminal.size))
        except OSError:
            self._end(0)  # the terminal is gone

    # Keys

    def _read(self) -> None:
        data = self._terminal.read()
        if not data:
            self._end(0)
            return
        if self._esc is not None:
            self._esc.cancel()
            self._esc = None
        self._press(self._keys.feed(data))
        if self._keys.waiting:
            self._esc = self._loop.call_later(ESC_SECONDS, self._flush)

    def _flush(self) -> None:
        self._esc = None
        self._press(self._keys.flush())

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            before, size = self._state, self._terminal.size
            self._scene.said = ""
            room = room_for(before, self._scene, size)
            self._state, action = press(before, key, self._scene, room)
            self._notice(before)
            if isinstance(action, Quit):
                self._end(0)
            elif action is not None:
                task = asyncio.create_task(self._pause(action))
                self._acting.add(task)
                task.add_done_callback(self._acting.discard)
        self._paint_soon()

    def _notice(self, before: State) -> None:
        """Forget what is not looked at any more, and look at what is now."""
        place = self._state.place
        if (place.view, place.subject) != (before.place.view, before.place.subject):
            self._scene.jobs = self._scene.job = None
            self._scene.job_asked = False
            self._hurry.set()
        if place.view == View.QUEUE and place.at != before.place.at and self._state.jobs == QUEUED:
            self._hurry.set()  # more may be needed
        if self._state.jobs != before.jobs:
            self._scene.jobs = None
            self._hurry.set()
        if self._state.frozen != before.frozen:
            # What was looked into some time ago is not as it was when it froze.
            self._jobs_of = self._jobs_of if self._looks_at_jobs() else None
            self._job_of = self._job_of if self._looks_at_job() else None
            self._hurry.set()

    async def _pause(self, action: Pause) -> None:
        words = {"kw_all": True} if action.on else {"kw_none": True}
        answers = await self._survey.everywhere(lambda node: node.pause(action.queue, **words))
        self._scene.said = _outcome(action, answers)
        self._due = 0.0
        self._hurry.set()
        self._paint_soon()

    # Signals

    def _end(self, signum: int) -> None:
        if not self._ended.done():
            self._ended.set_result(signum)

    def _stop(self) -> None:
        """Ctrl-Z: give the terminal back meanwhile."""
        self._terminal.leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _go_on(self) -> None:
        self._terminal.enter()
        self._paint_soon()


def _outcome(action: Pause, answers: list[object]) -> str:
    """What came of a pause, in words."""
    name = queue_name(action.queue)
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    if errors or not answers:
        why = str(errors[0]) if errors else "no node answers"
        done = f"done on {len(answers) - len(errors)} of {number(len(answers), 'node')}"
        return f"{name}: {done}: {why}"
    return f"{name}: {'paused in input and output' if action.on else 'not paused'}"
