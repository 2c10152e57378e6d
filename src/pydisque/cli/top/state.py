"""What somebody at the screen is looking at, and what a key makes of that.

A `State` is never changed: `press` gives the next one, and what is to be done besides. Pure: knows
neither the terminal nor the nodes; what is known of them comes in a `Scene`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

from pydisque.cli.top.columns import VALUES
from pydisque.cli.top.pages import help_lines, story
from pydisque.cli.top.sort_keys import SORTS
from pydisque.dead_letters import encoded
from pydisque.monitoring.figures import NodeFigures, QueueFigures, Sample
from pydisque.monitoring.jobs import QUEUED, STATES
from pydisque.protocol.replies import JobInfo

T = TypeVar("T")


@dataclass(slots=True)
class Scene:
    """All that is known now and may be shown."""

    queues: Mapping[bytes, QueueFigures] = field(default_factory=dict)
    others: int = 0
    """How many there are beside them, of which only sums are known."""
    nodes: Sequence[NodeFigures] = ()
    samples: Sequence[Sample] = ()
    complete: bool = True
    """Whether all queues are among them."""
    jobs: Sequence[JobInfo] | None = None
    """Of the queue that is looked into; None: not known yet."""
    jobs_complete: bool = True
    job: JobInfo | None = None
    """The job that is looked into."""
    job_asked: bool = False
    """Whether nodes were asked for it."""
    trouble: str = ""
    """Why nothing is known of now."""
    said: str = ""
    """What came of what was done last."""
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def renew(self) -> None:
        """Say that queues came or went, or have other figures; until then their order stands."""
        self._made.clear()

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """What is made of all queues: made once, as every key and every frame wants it."""
        if what not in self._made:
            self._made[what] = make()
        made: T = self._made[what]
        return made


class View(StrEnum):
    """What can be looked at."""

    QUEUES = "queues"
    QUEUE = "queue"
    JOB = "job"
    NODES = "nodes"
    HELP = "help"


TEXTS = (View.JOB, View.HELP)
"""Views of lines, through which one moves; in the others one line is chosen."""


@dataclass(frozen=True, slots=True)
class Place:
    """One view that is open, and where one is in it."""

    view: View
    subject: bytes = b""
    """The queue's name, or the job's ID."""
    at: Any = None
    """What the chosen line is about, so that it stays chosen wherever it goes; None: the first
    line, whatever it is about. In a text the number of the first line that is seen."""


@dataclass(frozen=True, slots=True)
class Pause:
    """To be done: pause a queue, or end its pause."""

    queue: bytes
    on: bool


@dataclass(frozen=True, slots=True)
class Quit:
    """To be done: end it."""


Action = Pause | Quit


@dataclass(frozen=True, slots=True)
class State:
    """What is looked at, and how."""

    places: tuple[Place, ...] = (Place(View.QUEUES),)
    """The views that are open; the last is seen, and those before it are come back to."""
    sort: str = "len"
    reverse: bool = False
    pattern: str = ""
    before_typing: str | None = None
    """While a pattern is typed, what it was before."""
    asking: Pause | None = None
    """What is done if the answer is yes."""
    frozen: bool = False
    jobs: str = QUEUED
    """Jobs of which state are listed."""
    as_bytes: bool = False
    """Whether a body is shown byte by byte, whatever it is."""

    @property
    def place(self) -> Place:
        """What is seen."""
        return self.places[-1]

    @property
    def choice(self) -> tuple[str, str, bool]:
        """What decides which queues are seen, and in which order."""
        return self.pattern, self.sort, self.reverse


# What there is to see


def chosen_queues(state: State, scene: Scene) -> list[QueueFigures]:
    """The queues whose names match, in their order; names go up, numbers go down."""
    return scene.once(("queues", *state.choice), lambda: _chosen(state, scene.queues.values()))


def _chosen(state: State, queues: Iterable[QueueFigures]) -> list[QueueFigures]:
    found = [queue for queue in queues if matches(state.pattern, queue.name)]
    found.sort(key=lambda queue: queue.name)
    value = VALUES[state.sort]
    down = (state.sort != "name") != state.reverse
    known = [queue for queue in found if value(queue) is not None]
    known.sort(key=value, reverse=down)
    return known + [queue for queue in found if value(queue) is None]


def matches(pattern: str, name: bytes) -> bool:
    """Whether a name is like the pattern or, if that is plain text, has it in it."""
    wanted = encoded(pattern)
    return fnmatchcase(name, wanted) if any(c in pattern for c in "*?[") else wanted in name


class Room(NamedTuple):
    """What the screen has room for."""

    width: int
    height: int
    """Lines of what is looked at."""


def lines_of(state: State, scene: Scene) -> list[Any]:
    """What the lines of the view that is seen are about, if one of them can be chosen."""
    match state.place.view:
        case View.QUEUES:
            queues = chosen_queues(state, scene)
            return scene.once(("names", *state.choice), lambda: [queue.name for queue in queues])
        case View.QUEUE:
            return [job.id for job in scene.jobs or ()]
        case View.NODES:
            return [node.address for node in scene.nodes]
        case View.JOB | View.HELP:
            return []


def text_of(state: State, scene: Scene, width: int) -> Sequence[str]:
    """The text that is seen, if it is one, in lines of at most so many cells."""
    match state.place.view:
        case View.JOB:
            return story(scene.job, width, as_bytes=state.as_bytes)
        case View.HELP:
            return help_lines(width)
        case _:
            return ()


def position(place: Place, lines: Sequence[Any]) -> int:
    """Which of the lines one is at."""
    if place.view in TEXTS:
        return place.at or 0
    try:
        return 0 if place.at is None else lines.index(place.at)
    except ValueError:
        return 0  # it is gone


# Keys


def press(state: State, key: str, scene: Scene, room: Room) -> tuple[State, Action | None]:
    """What a key does, where the screen has so much room."""
    if state.asking is not None:
        return replace(state, asking=None), state.asking if key in ("y", "Y") else None
    if state.before_typing is not None:
        return _typed(state, key), None
    if key == "Q" or (key == "q" and len(state.places) == 1):
        return state, Quit()
    if move := _MOVES.get(key):
        return _moved(state, move, scene, room), None
    act = _KEYS.get(key)
    return (state if act is None else act(state, scene)), None


def _moved(state: State, move: Callable[[int, int], int], scene: Scene, room: Room) -> State:
    text = state.place.view in TEXTS
    lines = text_of(state, scene, room.width) if text else lines_of(state, scene)
    if not lines:
        return state
    last = max(len(lines) - room.height, 0) if text else len(lines) - 1
    here = min(position(state.place, lines), last)  # the screen may have been narrower
    to = min(max(move(here, room.height), 0), last)
    # On the first line one stays there, while what it is about comes and goes.
    at = to if text else lines[to] if to else None
    return replace(state, places=(*state.places[:-1], replace(state.place, at=at)))


_FAR = 10**12

_MOVES: dict[str, Callable[[int, int], int]] = {
    "up": lambda at, _: at - 1, "k": lambda at, _: at - 1,
    "down": lambda at, _: at + 1, "j": lambda at, _: at + 1,
    "pgup": lambda at, page: at - page, "pgdn": lambda at, page: at + page,
    "home": lambda *_: 0, "g": lambda *_: 0,
    "end": lambda *_: _FAR, "G": lambda *_: _FAR,
}  # fmt: skip


def _typed(state: State, key: str) -> State:
    if key == "enter":
        return replace(state, before_typing=None)
    if key == "esc":
        return replace(state, before_typing=None, pattern=state.before_typing or "")
    if key == "backspace":
        return _filtered(state, state.pattern[:-1])
    if key == "ctrl-u":
        return _filtered(state, "")
    return _filtered(state, state.pattern + key) if len(key) == 1 else state


def _filtered(state: State, pattern: str) -> State:
    return replace(state, pattern=pattern, places=(Place(View.QUEUES),))


def _type(state: State, _: Scene) -> State:
    if state.place.view != View.QUEUES:
        return state
    return replace(state, before_typing=state.pattern)


def _back(state: State, _: Scene) -> State:
    if len(state.places) > 1:
        return replace(state, places=state.places[:-1])
    return _filtered(state, "") if state.pattern else state


def _enter(state: State, scene: Scene) -> State:
    into = {View.QUEUES: View.QUEUE, View.QUEUE: View.JOB}.get(state.place.view)
    lines = lines_of(state, scene)
    if into is None or not lines:
        return state
    subject = lines[position(state.place, lines)]
    # Back from there one is where one was, and not on what is first by then.
    here = replace(state.place, at=subject)
    return replace(state, places=(*state.places[:-1], here, Place(into, subject)))


def _open(view: View) -> Callable[[State, Scene], State]:
    def act(state: State, scene: Scene) -> State:
        if state.place.view == view:
            return _back(state, scene)
        kept = tuple(place for place in state.places if place.view != view)
        return replace(state, places=(*kept, Place(view)))

    return act


def _sort(step: int) -> Callable[[State, Scene], State]:
    def act(state: State, _: Scene) -> State:
        if state.place.view != View.QUEUES:
            return state
        key = SORTS[(SORTS.index(state.sort) + step) % len(SORTS)]
        return replace(state, sort=key, reverse=False)

    return act


def _reverse(state: State, _: Scene) -> State:
    return replace(state, reverse=not state.reverse) if state.place.view == View.QUEUES else state


def _ask_pause(state: State, scene: Scene) -> State:
    """Ask whether the queue one is at is to be paused; it may have changed by the answer."""
    name = state.place.subject if state.place.view == View.QUEUE else None
    if state.place.view == View.QUEUES and (lines := lines_of(state, scene)):
        name = lines[position(state.place, lines)]
    queue = None if name is None else scene.queues.get(name)
    if queue is None:
        return state
    return replace(state, asking=Pause(queue.name, on=queue.pause == b"none"))


def _other_jobs(step: int) -> Callable[[State, Scene], State]:
    def act(state: State, _: Scene) -> State:
        if state.place.view != View.QUEUE:
            return state
        jobs = STATES[(STATES.index(state.jobs) + step) % len(STATES)]
        places = (*state.places[:-1], replace(state.place, at=None))
        return replace(state, jobs=jobs, places=places)

    return act


def _bytes(state: State, _: Scene) -> State:
    if state.place.view != View.JOB:
        return state
    places = (*state.places[:-1], replace(state.place, at=None))
    return replace(state, as_bytes=not state.as_bytes, places=places)


_KEYS: dict[str, Callable[[State, Scene], State]] = {
    "enter": _enter, "esc": _back, "q": _back, "backspace": _back,
    "/": _type, "s": _sort(1), ">": _sort(1), "S": _sort(-1), "<": _sort(-1), "r": _reverse,
    "tab": _other_jobs(1), "right": _other_jobs(1), "left": _other_jobs(-1),
    "back-tab": _other_jobs(-1), "b": _bytes, "p": _ask_pause,
    "n": _open(View.NODES), "?": _open(View.HELP), "h": _open(View.HELP),
    " ": lambda state, _: replace(state, frozen=not state.frozen),
}  # fmt: skip
