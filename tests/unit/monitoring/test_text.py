"""What people read of others' text and bytes."""

from __future__ import annotations

import json

import pytest

from pydisque.monitoring import text as words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (3661, "1h 1m"), (90000, "1d 1h"), (86400, "1d")],
)
def test_durations(seconds, text):
    """A duration is told in its two largest units."""
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("body", "start"),
    [
        (b"abcd", b"abcd"),
        (b"abcde", b"abcd"),
        ("abcé".encode(), b"abc"),
        ("a€€".encode(), "a€".encode()),
        (b"\xff\xfe\xfd\xfc\xfb", b"\xff\xfe\xfd\xfc"),
    ],
)
def test_the_beginning_of_a_body(body, start):
    """Text stays text when its end is left out; what is none is cut anywhere."""
    assert words.beginning(body, 4) == start


def test_json_laid_out():
    """What is JSON is laid out, of what is long the beginning; what is none is not."""
    assert words.json_laid_out('{"a":["é"]}', 100) == '{\n  "a": [\n    "é"\n  ]\n}'
    deep = words.json_laid_out("[" * 500 + "]" * 500, 100)
    assert (deep[:8], len(deep), deep[-1]) == ("[\n  [\n  ", 101, "…")
    assert words.json_laid_out("[", 100) is None
    assert words.json_laid_out("[" * 100_000, 100) is None


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("plain é", "plain é"),
        ("\x1b[2J", r"\x1b[2J"),
        (b"\xff!", r"\xff!"),
        ("\u202etxt", r"\u202etxt"),
    ],
)
def test_what_is_shown_commands_nothing(given, seen):
    """What could command a terminal, or turn the direction of text, is written out."""
    assert words.shown(given) == seen


def test_bytes_in_hex():
    """Each line has sixteen bytes, with where they are and what is ASCII among them."""
    first, second = words.hex_dump(b"0123456789abcdef\x00z").splitlines()
    assert first.startswith("00000000  30 31 32")
    assert first.endswith("  0123456789abcdef")
    assert (second[:15], second[-2:]) == ("00000010  00 7a", ".z")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, b"\xff"])
def test_what_is_no_json(text):
    """What is no JSON, or far too deep, is not laid out."""
    assert words.json_laid_out(text, 1000) is None


def test_json_that_is_long():
    """Of much JSON none is parsed, and of what would be long laid out only the beginning is."""
    assert words.json_laid_out("[" + " " * words.LONGEST_JSON + "]", 1000) is None
    deep = json.loads("[" * 900 + "1" + ",1" * 200_000 + "]" * 900)
    text = words.laid_out(deep, 10_000)
    assert (len(text), text[-1]) == (10_001, "…")


def test_text_that_is_long():
    """The beginning of it stands for all, and says so."""
    assert words.truncate("abc", 3) == "abc"
    assert words.truncate("abcd", 3) == "abc…"
