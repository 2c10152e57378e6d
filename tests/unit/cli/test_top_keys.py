"""Keys, as terminals send them."""

from __future__ import annotations

import pytest

from pydisque.cli.top.keys import Keys

TYPED = {
    b"a": ["a"],
    b"jk/": ["j", "k", "/"],
    b"\r": ["enter"],
    b"\t\x7f\x0c": ["tab", "backspace", "ctrl-l"],
    b"\x1b[A\x1bOA\x1b[5~\x1b[H\x1b[4~": ["up", "up", "pgup", "home", "end"],
    "é界".encode(): ["é", "界"],
    b"\x1b[1;5C\x1b[200~x": ["x"],
    b"\x00\x01\xff": [],
}


@pytest.mark.parametrize("typed", TYPED, ids=repr)
def test_what_is_typed_becomes_keys(typed):
    """Sequences that mean nothing here are passed over as a whole, and so are other bytes."""
    keys = Keys()
    assert keys.feed(typed) + keys.flush() == TYPED[typed]


def test_bytes_may_be_cut_anywhere():
    """Keys are the same however what was typed arrives."""
    keys = Keys()
    typed = b"a\x1b[A\x1b[5~" + "é界".encode() + b"\r"
    found = [key for byte in typed for key in keys.feed(bytes([byte]))]
    assert found == ["a", "up", "pgup", "é", "界", "enter"]
    assert not keys.waiting


def test_escape_is_a_key_when_nothing_follows():
    """Only time tells it from the beginning of a sequence."""
    keys = Keys()
    assert keys.feed(b"x\x1b") == ["x"]
    assert keys.waiting
    assert keys.flush() == ["esc"]
    assert not keys.waiting
    assert keys.feed(b"\x1b\x1b[B") == ["esc", "down"]
