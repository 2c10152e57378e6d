"""What keys make of what is looked at."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from pydisque.cli.top import top
from pydisque.cli.top.columns import QUEUES, VALUES
from pydisque.cli.top.rendering import Size, frame, visible
from pydisque.cli.top.sort_keys import SORTS
from pydisque.cli.top.state import (
    Pause,
    Place,
    Quit,
    Room,
    Scene,
    State,
    View,
    chosen_queues,
    lines_of,
    matches,
    position,
    press,
    text_of,
)
from support.top_scenes import HOSTILE, job, queue, scene

ROOM = Room(80, 10)


def pressed(*keys: str, state: State | None = None, seen: Scene | None = None) -> State:
    """What comes of these keys, none of which does anything."""
    state = state or State()
    for key in keys:
        state, action = press(state, key, seen or scene(), ROOM)
        assert action is None
    return state


def names(state: State, seen: Scene | None = None) -> list[bytes]:
    return [each.name for each in chosen_queues(state, seen or scene())]


def at(state: State, seen: Scene) -> bytes:
    lines = lines_of(state, seen)
    return lines[position(state.place, lines)]


def many(count: int = 100) -> Scene:
    """As many queues, the first the longest."""
    queues = [queue(b"q%03d" % i, len=count - i) for i in range(count)]
    return Scene(queues={each.name: each for each in queues})


def test_queues_are_sorted():
    """Names go up, numbers go down, and what is not known comes last either way."""
    by_active = [b"mail", b"empty", HOSTILE, b"images:thumbnails"]
    assert names(State()) == [b"images:thumbnails", b"mail", HOSTILE, b"empty"]
    assert names(State(sort="name")) == sorted(scene().queues)
    assert names(State(sort="name", reverse=True)) == sorted(scene().queues)[::-1]
    assert names(State(sort="active")) == by_active
    assert names(State(sort="active", reverse=True)) == [*by_active[2::-1], by_active[3]]


def test_what_is_equal_does_not_dance():
    """Queues that are equal are sorted by name, whatever order they came in."""
    queues = {b"%d" % i: queue(b"%d" % i) for i in (3, 1, 2)}
    for reverse in (False, True):
        assert names(State(reverse=reverse), Scene(queues)) == [b"1", b"2", b"3"]


def test_all_sorts_are_offered():
    """The option of the command, and the keys, know the same columns."""
    [option] = [each for each in top.params if each.name == "sort"]
    assert tuple(option.type.choices) == SORTS
    assert set(SORTS) == {column.key for column in QUEUES} - {"oldest", "pause", "trend"}
    state, seen = State(), []
    for _ in SORTS:
        state = pressed("s", state=state)
        seen.append(state.sort)
    assert sorted(seen) == sorted(SORTS)
    assert pressed("S", state=pressed("s")) == State()
    assert pressed("r").reverse


@pytest.mark.parametrize(
    ("pattern", "name", "like"),
    [("", b"x", True), ("ai", b"mail", True), ("ai", b"Mali", False), ("m*l", b"mail", True),
     ("m*", b"email", False), ("é", "café".encode(), True), ("\udcff", b"a\xff", True)],
)  # fmt: skip
def test_names_match(pattern, name, like):
    """Plain text is looked for in names; a pattern is like the whole name, as with a shell."""
    assert matches(pattern, name) is like


def test_a_pattern_is_typed():
    """It is used at every key; Enter keeps it, Esc while typing brings back the one before."""
    assert names(pressed("/", "m", "a")) == [b"images:thumbnails", b"mail"]
    kept = pressed("/", *"mail", "enter")
    assert names(kept) == [b"mail"]
    assert pressed("/", "backspace", "q", "esc", state=kept) == kept
    assert pressed("esc", state=kept).pattern == ""
    assert pressed("/", "ctrl-u", "enter", state=kept).pattern == ""
    assert pressed("/", "up", "tab", state=kept).pattern == "mail"


def test_lines_are_moved_over():
    """No key leaves the lines there are, however few or many."""
    seen = many()
    for keys, name in {
        ("down",): b"q001", ("j", "j", "k"): b"q001", ("pgdn", "pgdn"): b"q020",
        ("end", "down"): b"q099", ("G", "pgup"): b"q089", ("pgdn", "home"): b"q000",
        ("up",): b"q000", ("pgup",): b"q000",
    }.items():  # fmt: skip
        assert at(pressed(*keys, seen=seen), seen) == name, keys
    assert pressed("down", "enter", "p", seen=Scene()) == State()


def test_the_chosen_line_goes_with_its_queue():
    """A queue stays chosen wherever it goes, but the first line stays the first."""
    seen = many()
    first, second = pressed(seen=seen), pressed("down", seen=seen)
    seen.queues[b"q001"].len = 0
    seen.queues[b"q050"].len = 1000
    seen.renew()
    assert at(first, seen) == b"q050"
    assert at(second, seen) == b"q001"
    del seen.queues[b"q001"]
    seen.renew()
    assert at(second, seen) == b"q050"


def test_looking_into_a_queue_and_a_job():
    """Enter goes in, and Esc and q come back to where one was."""
    inside = pressed("down", "enter")
    assert inside.place == Place(View.QUEUE, b"mail")
    job = pressed("down", "enter", state=inside)
    assert (job.place.view, job.place.subject) == (View.JOB, scene().jobs[1].id)
    assert pressed("enter", state=job) == job
    for back in ("esc", "q"):
        assert at(pressed(back, back, state=job), scene()) == b"mail"
    assert pressed("tab", state=inside).jobs == "active"
    assert pressed("left", state=inside).jobs == "delayed"
    assert pressed("b", state=job).as_bytes


def test_views_beside():
    """The nodes and the help are opened from anywhere, and closed by the same key."""
    inside = pressed("enter")
    for key, view in (("n", View.NODES), ("?", View.HELP)):
        opened = pressed(key, state=inside)
        assert opened.place.view == view
        assert pressed(key, state=opened) == inside
    both = pressed("?", "n", "?", state=inside)
    assert [place.view for place in both.places] == [
        *(p.view for p in inside.places),
        "nodes",
        "help",
    ]


def test_a_text_is_scrolled_to_its_end_and_not_beyond():
    """The last line is at the bottom then, and one key goes up again."""
    opened = pressed("?")
    count = len(text_of(opened, scene(), ROOM.width))
    end = pressed("end", "down", state=opened)
    assert end.place.at == count - ROOM.height
    assert pressed("up", state=end).place.at == count - ROOM.height - 1


def test_a_text_is_read_to_its_end_on_any_screen():
    """However long a line is: what does not fit goes on below, and is moved over like the rest."""
    body = ("界x" * 300 + "end").encode()
    seen = Scene(job=job(1, body), job_asked=True)
    opened = State(places=(Place(View.QUEUES), Place(View.JOB, b"D-")))
    for room in (Room(10, 3), Room(40, 5), Room(2, 4)):
        lines = text_of(opened, seen, room.width)
        assert max(map(cell_len, lines)) <= room.width
        assert ("界x" * 300 + "end") in "".join(lines)
        end = press(opened, "end", seen, room)[0]
        assert end.place.at == len(lines) - room.height
    wider = press(end, "up", seen, Room(160, 5))[0]
    assert wider.place.at == len(text_of(opened, seen, 160)) - 5 - 1


def test_queues_are_sorted_once(monkeypatch):
    """However many keys come until they are looked at anew, and frames are drawn."""
    sorted_ = []
    monkeypatch.setitem(VALUES, "len", lambda queue: sorted_.append(queue) or queue.len)
    seen, state, size = many(), State(), Size(80, 24)
    frame(state, seen, size)
    for key in ("down", "pgdn", "up", "p", "n", "enter", "esc"):
        once = len(sorted_)
        state, _ = press(state, key, seen, ROOM)
        frame(state, seen, size)
        visible(state, seen, size)
        assert len(sorted_) == once
    seen.renew()
    frame(state, seen, size)
    assert len(sorted_) > once


@pytest.mark.parametrize("answer", ["n", "esc", "enter", "q", "p", " "])
def test_a_pause_is_asked_about(answer):
    """Only yes pauses a queue; every other key does nothing at all."""
    asking = pressed("down", "p")
    assert press(asking, "y", scene(), ROOM) == (pressed("down"), Pause(b"mail", on=True))
    assert press(asking, answer, scene(), ROOM) == (pressed("down"), None)


def test_a_paused_queue_is_resumed():
    """Whatever is paused of it, and while it is looked into as well."""
    for keys in (("p",), ("enter", "p")):
        assert pressed(*keys).asking == Pause(b"images:thumbnails", on=False)


def test_a_queue_that_is_asked_about_does_not_change():
    """If another one is there by the time of the answer, it is not that one which is paused."""
    seen = many()
    asking = pressed("p", seen=seen)
    seen.queues[b"q050"].len = 1000
    seen.renew()
    assert press(asking, "y", seen, ROOM)[1] == Pause(b"q000", on=True)


def test_ending_it():
    """q ends it among the queues, Q anywhere; what is typed into a pattern does not."""
    assert press(State(), "q", scene(), ROOM)[1] == Quit()
    assert press(pressed("enter", "enter"), "Q", scene(), ROOM)[1] == Quit()
    assert pressed("/", "q", "Q").pattern == "qQ"
    assert pressed("esc", "esc") == State()
