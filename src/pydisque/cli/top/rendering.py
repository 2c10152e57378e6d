"""Draws the screen: what is known, and what is looked at, as lines of a given width. Pure.

Every line is exactly as wide as the screen, and there are as many as it is high. What others wrote
comes through `shown`, so that it cannot command the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from pydisque.cli.options.nodes import number, shown
from pydisque.cli.top.charts import BLOCKS, PLAIN, chart, sparkline
from pydisque.cli.top.columns import (
    GAP,
    JOBS,
    NODES,
    QUEUES,
    TREND,
    TREND_WIDTH,
    UNKNOWN,
    Column,
    ago,
    amount,
    fitting,
    queue_name,
)
from pydisque.cli.top.state import (
    Place,
    Room,
    Scene,
    State,
    View,
    chosen_queues,
    lines_of,
    position,
    text_of,
)
from pydisque.monitoring.figures import QueueFigures, Sample
from pydisque.monitoring.jobs import STATES

CHARTS = 4
"""Lines of a chart, where the screen is high enough for charts."""

HIGH_ENOUGH = 20

LONG_NAME = 40
"""Letters of names that are worth more than a trend beside them."""

WIDEST_TREND = 56


class Size(NamedTuple):
    """How large the screen is, and what it can show."""

    width: int
    height: int
    plain: bool = False
    """Whether it knows ASCII alone."""

    @property
    def blocks(self) -> str:
        """What charts are drawn with."""
        return PLAIN if self.plain else BLOCKS


def frame(state: State, scene: Scene, size: Size) -> list[Text]:
    """The whole screen."""
    head = _head(state, scene, size)
    room = max(size.height - len(head) - 1, 0)
    lines = [*head, *_lines(state, scene, size, room)]
    lines = lines[: max(size.height - 1, 0)]
    lines += [Text()] * (size.height - 1 - len(lines))
    lines.append(_bottom(state, scene, size.width))
    return [_fit(_in_ascii(line) if size.plain else line, size.width) for line in lines]


def room_for(state: State, scene: Scene, size: Size) -> Room:
    """How much of what is looked at the screen has room for."""
    return Room(size.width, max(size.height - len(_head(state, scene, size)) - 1, 1))


def visible(state: State, scene: Scene, size: Size) -> list[bytes]:
    """The names of the queues that are on the screen."""
    if state.place.view == View.QUEUE:
        return [state.place.subject]
    if state.place.view != View.QUEUES:
        return []
    names = lines_of(state, scene)
    room = room_for(state, scene, size).height
    start = _start(state.place, names, room)
    return names[start : start + room]


def needed(state: State, scene: Scene, size: Size) -> int:
    """How many lines of a list there should be: whole pages, and more than are reached by now."""
    room = room_for(state, scene, size).height
    reached = _start(state.place, lines_of(state, scene), room) + room
    return (reached // room + 1) * room


# Lines


def _fit(line: Text, width: int) -> Text:
    line = line.copy()
    line.no_wrap = True
    line.truncate(width, pad=True)
    return line


def _in_ascii(line: Text) -> Text:
    """The line without what the terminal cannot show, as wide as it was."""
    line = line.copy()
    line.plain = "".join(
        letter if letter.isascii() else _INSTEAD.get(letter, "?" * cell_len(letter))
        for letter in line.plain
    )
    return line


_INSTEAD = {"…": "~", "·": "-"}


def _cut(text: str, width: int) -> str:
    """Text in exactly so many cells; what is cut says so."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return f"{set_cell_size(text, width - 1)}…" if width else ""


def _start(place: Place, lines: Sequence[Any], room: int) -> int:
    """The first of the lines on the screen: the chosen one is in the middle, if it can be."""
    at, last = position(place, lines), max(len(lines) - room, 0)
    wanted = at if place.view in (View.JOB, View.HELP) else at - room // 2
    return min(max(wanted, 0), last)


# The head


def _head(state: State, scene: Scene, size: Size) -> list[Text]:
    lines = [_title(scene), _status(state, scene)]
    match state.place.view:
        case View.QUEUES:
            return [*lines, *_totals(scene, size), _names(_queue_columns(scene, size))]
        case View.QUEUE:
            queue = scene.queues.get(state.place.subject)
            return [*lines, *_queue(queue, size), _tabs(state), _names(fitting(JOBS, size.width))]
        case View.NODES:
            return [*lines, _names(fitting(NODES, size.width))]
        case View.JOB | View.HELP:
            return [*lines, Text()]


def _title(scene: Scene) -> Text:
    failed = sum(bool(node.error) for node in scene.nodes)
    line = Text().append("pydisque top", "bold").append(f"  {number(len(scene.nodes), 'node')}")
    if failed:
        line.append(f", {failed} failed", "red")
    some = "" if scene.complete else " so far"
    line.append(f"  {number(len(scene.queues) + scene.others, 'queue')}{some}")
    if scene.samples:
        line.append(f"  {number(scene.samples[-1].len, 'job')} queued")
    return line


def _status(state: State, scene: Scene) -> Text:
    if scene.trouble:
        return Text(shown(scene.trouble), "bold red")
    words = []
    match state.place.view:
        case View.QUEUES:
            words.append(f"sorted by {state.sort}{', reversed' if state.reverse else ''}")
            if state.pattern:
                words.append(f"showing {shown(state.pattern)}")
        case View.QUEUE:
            words.append(f"queue {queue_name(state.place.subject)}")
        case View.JOB:
            words.append(f"job {queue_name(state.place.subject)}")
        case _:
            words.append(state.place.view)
    if state.frozen:
        words.append("frozen")
    return Text(" · ".join(words), "dim" if state.place.view == View.QUEUES else "bold")


def _totals(scene: Scene, size: Size) -> Iterator[Text]:
    width = max((size.width - 2 * len(GAP)) // 3, 0)
    line = Text()
    for name, values, text in _series(scene.samples):
        told = f"{name} {text} "
        line.append(_cut(told + sparkline(values, width - cell_len(told), size.blocks), width))
        line.append(GAP)
    yield line


def _series(samples: Sequence[Sample]) -> list[tuple[str, list[float], str]]:
    """What is drawn of samples: its name, its values, and the last one in words."""
    lens: list[float] = [sample.len for sample in samples]
    ins, outs = [sample.in_rate for sample in samples], [sample.out_rate for sample in samples]
    rates = [("in", ins, _rate(ins)), ("out", outs, _rate(outs))]
    return [("len", lens, amount(lens[-1]) if lens else UNKNOWN), *rates]


def _rate(values: list[float]) -> str:
    return f"{amount(values[-1])}/s" if values else UNKNOWN


# Tables


Fitted = list[tuple[Column[Any], int]]


def _queue_columns(scene: Scene, size: Size) -> Fitted:
    """The columns of queues; the trend gets what the names do not need, if there is any."""
    longest = scene.once("longest", lambda: _longest(scene.queues))
    fitted: Fitted = list(fitting(QUEUES, size.width))
    name, given = fitted[0]
    if given < min(longest, LONG_NAME):
        return list(fitting([column for column in QUEUES if column.key != TREND], size.width))
    spare = min(max(given - max(longest, name.width), 0), WIDEST_TREND - TREND_WIDTH)
    more = {"name": -spare, TREND: spare}
    if not any(column.key == TREND for column, _ in fitted):
        return fitted
    return [(column, width + more.get(column.key, 0)) for column, width in fitted]


def _longest(names: Iterable[bytes]) -> int:
    return max((cell_len(queue_name(name)) for name in names), default=0)


def _names(fitted: Fitted) -> Text:
    cells = (_aligned(column, column.title, width) for column, width in fitted)
    return Text(GAP.join(cells), "bold underline")


def _aligned(column: Column[Any], text: str, width: int) -> str:
    if column.left or cell_len(text) >= width:
        return _cut(text, width)
    return " " * (width - cell_len(text)) + text


def _row(fitted: Fitted, thing: Any, size: Size, *, chosen: bool) -> Text:
    line = Text(style="reverse" if chosen else "")
    for at, (column, width) in enumerate(fitted):
        value = column.value(thing)
        text = sparkline(value, width, size.blocks) if column.key == TREND else column.text(value)
        line.append((GAP if at else "") + _aligned(column, text, width), _style(column, value))
    line.pad_right(max(size.width - line.cell_len, 0))
    return line


def _style(column: Column[Any], value: Any) -> str:
    if column.key == "pause":
        return "yellow"
    if column.key == "state":
        return "" if value == "ok" else "red"
    if column.key == TREND:
        return "cyan"
    return "dim" if value == 0 and not column.left else ""


def _lines(state: State, scene: Scene, size: Size, room: int) -> list[Text]:
    match state.place.view:
        case View.QUEUES:
            queues = chosen_queues(state, scene)
            keys = lines_of(state, scene)
            fitted = _queue_columns(scene, size)
            return _table(state, fitted, keys, queues, size, room) or [_none_of_queues(state)]
        case View.QUEUE:
            if scene.jobs is None:
                return [Text("looking for jobs", "dim")]
            keys = lines_of(state, scene)
            fitted = list(fitting(JOBS, size.width))
            return _table(state, fitted, keys, scene.jobs, size, room) or [_none_of_jobs(scene)]
        case View.NODES:
            keys = lines_of(state, scene)
            rows = _table(state, list(fitting(NODES, size.width)), keys, scene.nodes, size, room)
            failed = [node for node in scene.nodes if node.error]
            told = [Text(f"{node.address}: {shown(node.error)}", "red") for node in failed]
            return [*rows, *([Text(), *told] if told else ())]
        case View.JOB | View.HELP:
            lines = text_of(state, scene, size.width) or [_no_job(scene)]
    start = _start(state.place, lines, room)
    return [Text(line) for line in lines[start : start + room]]


def _table(
    state: State, fitted: Fitted, keys: list[Any], things: Sequence[Any], size: Size, room: int
) -> list[Text]:
    start, at = _start(state.place, keys, room), position(state.place, keys)
    seen = range(start, min(start + room, len(things)))
    return [_row(fitted, things[i], size, chosen=i == at) for i in seen]


def _none_of_queues(state: State) -> Text:
    return Text("no queues" + (f" like {shown(state.pattern)}" if state.pattern else ""), "dim")


def _none_of_jobs(scene: Scene) -> Text:
    return Text("no jobs" if scene.jobs_complete else "no jobs so far", "dim")


def _no_job(scene: Scene) -> str:
    return "no node that answers knows it" if scene.job_asked else "looking for it"


# One queue


def _queue(queue: QueueFigures | None, size: Size) -> list[Text]:
    if queue is None:
        return [Text("there is no such queue now", "dim")]
    return [*_charts(queue, size), *_flowing(_figures(queue), size.width)]


def _charts(queue: QueueFigures, size: Size) -> list[Text]:
    height = CHARTS if size.height >= HIGH_ENOUGH else 1
    width = max((size.width - 2 * len(GAP)) // 3, 0)
    titles, drawn = [], []
    for name, values, text in _series(queue.samples):
        seen = values[-width:] if width else []
        titles.append(_cut(f"{name} {text}, max {amount(max(seen, default=None))}", width))
        drawn.append(chart(values, width, height, size.blocks))
    bars = [Text(GAP.join(each), "cyan") for each in zip(*drawn, strict=True)]
    return [*bars, Text(GAP.join(titles))]


def _figures(queue: QueueFigures) -> Iterator[str]:
    yield f"active {amount(queue.active)}"
    yield f"delayed {amount(queue.delayed)}"
    yield f"blocked {amount(queue.blocked)}"
    yield f"oldest {ago(queue.oldest)}"
    yield f"jobs in {queue.jobs_in}"
    yield f"jobs out {queue.jobs_out}"
    yield f"age {ago(queue.age)}"
    yield f"idle {ago(queue.idle)}"
    yield f"pause {queue.pause.decode()}"
    if queue.import_from:
        yield f"imports {queue.import_rate}/s from {number(len(queue.import_from), 'node')}"


def _flowing(words: Iterator[str], width: int) -> list[Text]:
    """Words in as many lines as they need."""
    lines = [""]
    for word in words:
        longer = f"{lines[-1]}  {word}" if lines[-1] else word
        if cell_len(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [Text(line) for line in lines]


def _tabs(state: State) -> Text:
    line = Text("jobs ")
    for each in STATES:
        line.append(f"[{each}]" if each == state.jobs else f" {each} ", _tab_style(state, each))
    return line


def _tab_style(state: State, each: str) -> str:
    return "bold" if each == state.jobs else "dim"


# The bottom


_HINTS = {
    View.QUEUES: "? keys  q quit  Enter look  / show  s sort  r reverse  p pause  n nodes",
    View.QUEUE: "? keys  Esc back  Enter look  Tab other jobs  p pause",
    View.JOB: "? keys  Esc back  b bytes",
    View.NODES: "? keys  Esc back",
    View.HELP: "Esc back",
}


def _bottom(state: State, scene: Scene, width: int) -> Text:
    if state.asking is not None:
        question = f"{'pause' if state.asking.on else 'resume'} {queue_name(state.asking.queue)}"
        return Text(f"{_cut(question, min(cell_len(question), max(width - 8, 0)))}? [y/N] ", "bold")
    if state.before_typing is not None:
        line = Text(f"/{shown(state.pattern)}", "bold")
        return line.append(" ", "reverse")
    if scene.said:
        return Text(shown(scene.said), "bold")
    return Text(_HINTS[state.place.view], "dim")
