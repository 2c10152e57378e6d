"""Frames of the live view: what is drawn of a system that is always the same."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console, Group

from pydisque.cli.top.charts import PLAIN, chart, sparkline
from pydisque.cli.top.columns import LONGEST_NAME, ago, amount, queue_name
from pydisque.cli.top.pages import LONGEST, story
from pydisque.cli.top.rendering import Size, frame, needed, room_for, visible
from pydisque.cli.top.state import Pause, Place, Scene, State, View, lines_of
from support.top_scenes import HOSTILE, job, queue, scene

JOB_ID = b"D-0f3e2c18-000000000000000000000001-05a1"


def inside(view: View, subject: bytes = b"", **choices) -> State:
    return State(places=(Place(View.QUEUES), Place(view, subject)), **choices)


VIEWS = {
    "queues": State(), "queue": inside(View.QUEUE, b"mail"), "hostile": inside(View.QUEUE, HOSTILE),
    "gone": inside(View.QUEUE, b"gone"), "job": inside(View.JOB, JOB_ID),
    "nodes": inside(View.NODES), "help": inside(View.HELP),
    "asking": State(asking=Pause(HOSTILE, on=True)),
    "typing": State(pattern="\x1b[31m\udcff", before_typing=""),
}  # fmt: skip


def drawn(state: State, size: Size, seen: Scene | None = None) -> str:
    return "\n".join(line.plain.rstrip() for line in frame(state, seen or scene(), size))


QUEUES_60 = r"""
pydisque top  2 nodes, 1 failed  4 queues  2900 jobs queued
sorted by len
len 2900 ▆▆▆▇▇▇▇███ in 290/s ▆▆▆▇▇▇▇███ out 5.0/s █████████
queue                 len   in/s  out/s active blocked pause
images:thumbnails    1.2M   1500    0.2      -       0 in
mail                 1234    120     98     16       2
a\x1b[31m\x9b2J\x…      7      0      0      0       0
empty                   0      0      0      1       1
? keys  q quit  Enter look  / show  s sort  r reverse  p pau
"""

QUEUES_80 = r"""
pydisque top  2 nodes, 1 failed  4 queues  2900 jobs queued
sorted by len
len 2900 ▄▄▅▅▅▅▆▆▆▆▇▇▇▇███ in 290/s ▄▄▅▅▅▅▆▆▆▆▇▇▇▇███ out 5.0/s ████████████████
queue                      len   in/s  out/s active delayed blocked oldest pause
images:thumbnails         1.2M   1500    0.2      -       -       0      - in
mail                      1234    120     98     16       3       2    75s
a\x1b[31m\x9b2J\xff界\…      7      0      0      0       0       0      -
empty                        0      0      0      1       0       1      -
? keys  q quit  Enter look  / show  s sort  r reverse  p pause  n nodes
"""

QUEUES_160 = r"""
pydisque top  2 nodes, 1 failed  4 queues  2900 jobs queued
sorted by name, reversed · showing ma · frozen
len 2900              ▁▂▂▂▂▂▂▃▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▇▇▇▇███ in 290/s              ▁▂▂▂▂▂▂▃▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▇▇▇▇███ out 5.0/s             ██████████████████████████████
queue                              len   in/s  out/s active delayed blocked oldest   import  idle pause trend
mail                              1234    120     98     16       3       2    75s             0s                                                         ▁▂▄▅▇█
images:thumbnails                 1.2M   1500    0.2      -       -       0      -     40/s    3s in                                                      ▁▂▄▅▇█
? keys  q quit  Enter look  / show  s sort  r reverse  p pause  n nodes
"""  # noqa: E501 - it is that wide

QUEUE_80 = r"""
pydisque top  2 nodes, 1 failed  4 queues  2900 jobs queued
queue images:thumbnails
                        ▂█                         ▂█                         ▂█
                       ▃██                        ▃██                        ▃██
                      ▅███                       ▅███                       ▅███
                    ▁▆████                     ▁▆████                     ▁▆████
len 1.2M, max 1.2M         in 1500/s, max 1500        out 0.2/s, max 0.2
active -  delayed -  blocked 0  oldest -  jobs in 0  jobs out 0  age 0s  idle 3s
pause in  imports 40/s from 2 nodes
jobs [queued] active  delayed
id                                        next nacks again   ttl body
D-0f3e2c18-000000000000000000000001-05a1    5m     0     0   23h {"to": "ada@ex…
D-0f3e2c18-000000000000000000000002-05a1    5m     2     0   23h \x1b[2J\xff
D-0f3e2c18-000000000000000000000003-05a1    5m     0     1   23h 界界界界界界界…





? keys  Esc back  Enter look  Tab other jobs  p pause
"""

QUEUE_60 = r"""
pydisque top  2 nodes, 1 failed  4 queues  2900 jobs queued
queue mail
             _.:=+#              _.:=+#              _.:=+#
len 1234, max 1234  in 120/s, max 120   out 98/s, max 98
active 16  delayed 3  blocked 2  oldest 75s  jobs in 5000
jobs out 3766  age 25h  idle 0s  pause none
jobs  queued [active] delayed
id                                        next body
D-0f3e2c18-000000000000000000000001-05a1    5m {"to": "ada@~
D-0f3e2c18-000000000000000000000002-05a1    5m \x1b[2J\xff
D-0f3e2c18-000000000000000000000003-05a1    5m ????????????~

? keys  Esc back  Enter look  Tab other jobs  p pause
"""

JOB_60 = r"""
pydisque top  2 nodes, 1 failed  4 queues  2900 jobs queued
job D-0f3e2c18-000000000000000000000001-05a1

id           D-0f3e2c18-000000000000000000000001-05a1
queue        mail
state        queued
made         2023-11-14T22:13:20Z
ttl          23h 59m left
retry        5m
delay        0s
next         in 5m
nacks        0
redelivered  0
copies       1 wanted, perhaps on 1

headers:
{
  "trace": "4bf9"
}

body, 30 bytes:
00000000  7b 22 74 6f 22 3a 20 22 61 64 61 22 2c 20 22 6e  {
"to": "ada", "n
00000010  61 6d 65 22 3a 20 22 1b 5b 33 31 6d 22 7d        a
me": ".[31m"}
? keys  Esc back  b bytes
"""

HELP_40 = r"""
pydisque top  2 nodes, 1 failed  4 queue
help

Keys

  Up Down, j k     the line above, below
  PgUp PgDn        a page up, down
  Home End, g G    the first, the last
                   line
  Enter            look into a queue, a
                   job
  Esc, q           back; q among the
                   queues ends it, as Q
                   and Ctrl-C do
                   anywhere
Esc back
"""

NODES_80 = r"""
pydisque top  2 nodes, 1 failed  4 queues  2900 jobs queued
nodes
node                  state         jobs queues clients blocked  cmds/s   memory
10.0.0.1:7711         ok            1.2M      4      12       3    4321    1.35M
10.0.0.2:7711         no answer        -      -       -       -       -        -

10.0.0.2:7711: Connection refused

? keys  Esc back
"""


FRAMES = {
    "queues, 60": (State(), Size(60, 9), QUEUES_60),
    "queues, 80": (State(), Size(80, 9), QUEUES_80),
    "queues, 160": (
        State(sort="name", reverse=True, pattern="ma", frozen=True), Size(160, 7), QUEUES_160,
    ),
    "queue, 80": (inside(View.QUEUE, b"images:thumbnails"), Size(80, 20), QUEUE_80),
    "queue, 60": (
        inside(View.QUEUE, b"mail", jobs="active"), Size(60, 13, plain=True), QUEUE_60,
    ),
    "job, 60": (inside(View.JOB, JOB_ID, as_bytes=True), Size(60, 26), JOB_60),
    "help, 40": (inside(View.HELP), Size(40, 16), HELP_40),
    "nodes, 80": (inside(View.NODES), Size(80, 9), NODES_80),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name):
    """This is what people see."""
    state, size, wanted = FRAMES[name]
    assert drawn(state, size) == wanted[1:-1]


@pytest.mark.parametrize("view", VIEWS)
def test_a_frame_is_as_large_as_the_screen(view):
    """However small that is; and no letter of anybody's commands the terminal."""
    for width in (1, 2, 7, 16, 40, 59, 60, 81, 160, 300):
        for height in (1, 2, 3, 5, 8, 24, 60):
            lines = frame(VIEWS[view], scene(), Size(width, height))
            assert [cell_len(line.plain) for line in lines] == [width] * height, (width, height)
            assert all(line.plain.isprintable() for line in lines)


def ansi(monkeypatch: pytest.MonkeyPatch, view: str, **environment: str) -> str:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80, height=24
    )
    console.print(Group(*frame(VIEWS[view], scene(), Size(80, 24))))
    return console.file.getvalue()


def test_colors(monkeypatch):
    """There are some, but for those who do not want any; the chosen line stands out even so."""
    assert "\x1b[33m" in ansi(monkeypatch, "queues")
    for view in VIEWS:
        text = ansi(monkeypatch, view, NO_COLOR="1")
        assert not any(f"\x1b[{code}m" in text or f";{code}m" in text for code in range(30, 50))
    assert "\x1b[7m" in ansi(monkeypatch, "queues", NO_COLOR="1")


def test_ascii_alone():
    """A terminal that knows no more gets no more, and everything stands where it would."""
    for view, state in VIEWS.items():
        for width in (60, 160):
            plain, whole = (drawn(state, Size(width, 40, plain=p)) for p in (True, False))
            assert plain.isascii(), view
            assert [cell_len(line) for line in plain.split("\n")] == [
                cell_len(line) for line in whole.split("\n")
            ], view


def test_what_is_the_matter_is_said():
    """That no node answers stands above old figures; what came of a pause stands below."""
    seen = replace(scene(), trouble="no node answered\x1b[2J", said="mail: paused")
    lines = drawn(State(), Size(80, 9), seen).split("\n")
    assert (lines[1], lines[-1]) == ("no node answered\\x1b[2J", "mail: paused")
    asking = drawn(VIEWS["asking"], Size(40, 9)).split("\n")
    assert asking[-1].endswith("? [y/N]")
    assert drawn(VIEWS["typing"], Size(80, 9)).endswith("/\\x1b[31m\\udcff")


def test_nothing_there():
    """It is said what there is none of, and what is not known yet."""
    empty = Scene()
    for state, seen, told in (
        (State(), empty, "no queues"),
        (State(pattern="zz"), scene(), "no queues like zz"),
        (VIEWS["queue"], empty, "there is no such queue now"),
        (VIEWS["queue"], empty, "looking for jobs"),
        (VIEWS["queue"], replace(empty, jobs=[]), "no jobs"),
        (VIEWS["queue"], replace(empty, jobs=[], jobs_complete=False), "no jobs so far"),
        (VIEWS["job"], empty, "looking for it"),
        (VIEWS["job"], replace(empty, job_asked=True), "no node that answers knows it"),
        (State(), replace(empty, complete=False), "0 queues so far"),
    ):
        assert told in drawn(state, Size(80, 24), seen), told


def test_bodies_however_long():
    """A long body is shown in part, as text if it is any, and said to be."""
    for body, told in (("é".encode() * 10**5, "ééé"), (b"\xff" * 10**6, "ff ff ff")):
        text = drawn(VIEWS["job"], Size(80, 40), replace(scene(), job=job(1, body)))
        assert f"body, {len(body)} bytes, of which this is the beginning:" in text
        assert told in text


def test_headers_and_bodies_however_deep():
    """What would be long laid out is shown as it is, in a bounded number of lines."""
    deep = b"[" * 90 + b",".join([b"0"] * 30_000) + b"]" * 90
    body = b'\0pydisque1 {"h":' + deep + b"}\n" + deep
    assert len(story(job(1, body), 80, as_bytes=False)) < 3 * LONGEST // 80


def test_names_however_long():
    """Of a name that is wider than any screen the beginning is drawn."""
    assert len(queue_name(b"\xff" * 10**6)) == len(r"\xff") * LONGEST_NAME


def test_the_chosen_line_is_on_the_screen():
    """Wherever it is; and what is on the screen is told, as it is asked for."""
    queues = {b"q%03d" % i: queue(b"q%03d" % i) for i in range(100)}
    seen, size = Scene(queues), Size(80, 24)
    for name in queues:
        state = State(places=(Place(View.QUEUES, at=name),))
        names = visible(state, seen, size)
        assert name in names
        assert len(names) == room_for(state, seen, size).height
        lines = frame(state, seen, size)
        assert [line.plain.split()[0].encode() for line in lines[4:-1]] == names
        assert [line.plain[:4].encode() for line in lines if "reverse" in str(line.style)] == [name]
    assert visible(VIEWS["queue"], seen, size) == [b"mail"]


def test_a_page_more_is_needed():
    """Of a list, wherever one is in it, so that one can go on; by whole pages, not line by line."""
    seen, size = replace(scene(), jobs=[job(at) for at in range(100)]), Size(80, 24)
    room = room_for(VIEWS["queue"], seen, size).height
    asked = set()
    for each in seen.jobs:
        state = State(places=(Place(View.QUEUE, b"mail", each.id),))
        asked.add(needed(state, seen, size))
        assert lines_of(state, seen).index(each.id) + 1 < needed(state, seen, size) <= 100 + room
    assert asked == set(range(2 * room, 100 + room + 1, room))


def test_charts():
    """Nothing is a line at the bottom, anything is more, and what is not known is blank."""
    assert sparkline([0, 1, 50, 100], 6) == "  ▁▂▅█"
    assert sparkline([5, 1, 2], 2) == "▅█"
    assert sparkline([], 3) == "   "
    assert chart([0, 8, 16], 4, 2) == ["   █", " ▁██"]
    assert set(sparkline(range(20), 20, PLAIN)) <= set(PLAIN)


def test_numbers_are_short():
    """Six letters, whatever the number."""
    told = {
        0: "0", 7: "7", 7.24: "7.2", 9.97: "10", 99.5: "100", 999_999: "999999", 999_999.7: "1.0M",
        1_234_567: "1.2M", 123_456_789: "123.5M", 10**12 - 1: "1.0T", 10**18: "1e+18", None: "-",
    }  # fmt: skip
    for number, text in told.items():
        assert amount(number) == text
    assert [ago(s) for s in (None, 0, 99, 100, 6000, 172_800, 10**9)] == [
        "-", "0s", "99s", "1m", "1h", "2d", "11574d",
    ]  # fmt: skip
