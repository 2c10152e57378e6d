"""What a terminal sends, as names of keys: "up", "esc", "a". Pure: bytes come in as read."""

from __future__ import annotations

import re

_NAMED = {
    "\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace",
    "\x0c": "ctrl-l", "\x15": "ctrl-u",
}  # fmt: skip

# By what comes after ESC; some terminals send one form, some the other.
_SEQUENCES = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down", "[C": "right", "OC": "right",
    "[D": "left", "OD": "left", "[H": "home", "OH": "home", "[1~": "home", "[7~": "home",
    "[F": "end", "OF": "end", "[4~": "end", "[8~": "end", "[5~": "pgup", "[6~": "pgdn",
    "[Z": "back-tab", "OM": "enter",
}  # fmt: skip

# One whole sequence; those that say nothing to us are passed over as a whole.
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.)")
_UNFINISHED = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")
_HALF_A_LETTER = re.compile("[\udcc2-\udcf4][\udc80-\udcbf]*\\Z")


class Keys:
    """Makes keys of bytes, which may be cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def waiting(self) -> bool:
        """Whether what came last is the beginning of something, or the key Esc: time will tell."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are whole now."""
        data, self._rest = self._rest + data, b""
        text = data.decode(errors="surrogateescape")
        if tail := _UNFINISHED.search(text) or _HALF_A_LETTER.search(text):
            self._rest = tail.group().encode(errors="surrogateescape")
            text = text[: tail.start()]
        return list(_keys(text))

    def flush(self) -> list[str]:
        """What that was, as nothing followed it."""
        rest, self._rest = self._rest, b""
        return ["esc"] if rest.startswith(b"\x1b") else []


def _keys(text: str) -> list[str]:
    keys, at = [], 0
    while at < len(text):
        if found := _SEQUENCE.match(text, at):
            keys.append(_SEQUENCES.get(found[1], ""))
            at = found.end()
            continue
        letter = text[at]
        keys.append("esc" if letter == "\x1b" else _NAMED.get(letter, letter))
        at += 1
    return [key for key in keys if len(key) > 1 or (key.isprintable() and key)]
