"""The parameters of a node: names, defaults, what may be set to what, and CONFIG's view of them.

One table, in the order CONFIG GET shows it. Knows nothing of what a parameter does: whoever acts
on one reads it here. Those marked inert are kept for clients that ask, and change nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydisque.errors import DisqueError

_SIZE = re.compile(r"([0-9]+)(b|k|kb|m|mb|g|gb)?", re.IGNORECASE)
_UNITS = {
    "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3
}  # fmt: skip
_INTEGER = re.compile(r"([+-]?[0-9]+)?")  # nothing is 0
_LARGEST = 2**63 - 1

Read = Callable[[str], str]
"""Takes what was typed, gives what is stored; raises `ValueError` when it is not allowed."""


def _text(typed: str) -> str:
    return typed


def _number(low: int, high: int = _LARGEST, *, clamp: bool = False) -> Read:
    def read(typed: str) -> str:
        if not _INTEGER.fullmatch(typed):
            raise ValueError
        number = int(typed or "0")
        if clamp and 0 <= number <= _LARGEST:
            number = max(low, min(high, number))
        if not low <= number <= high:
            raise ValueError
        return str(number)

    return read


def _size(typed: str) -> str:
    match = _SIZE.fullmatch(typed or "0")
    if match is None:
        raise ValueError
    return str(min(_LARGEST, int(match[1]) * _UNITS[(match[2] or "b").lower()]))


def _one_of(*words: str) -> Read:
    def read(typed: str) -> str:
        if typed.lower() not in words:
            raise ValueError
        return typed.lower()

    return read


def _directory(typed: str) -> str:
    try:
        os.scandir(typed).close()
    except OSError as error:
        raise DisqueError(f"Changing directory: {error.strerror}") from None
    return str(os.path.abspath(typed))  # noqa: PTH100 - a name, not something to open


def _buffer_limit(typed: str) -> str:
    words = typed.split()
    if len(words) != 4 or words[0].lower() != "normal":
        raise ValueError
    hard, soft, seconds = _size(words[1]), _size(words[2]), _number(0)(words[3])
    return f"normal {hard} {soft} {seconds}"


_flag = _one_of("yes", "no")


@dataclass(frozen=True)
class Parameter:
    """One parameter; `read` is None when it cannot be set while the node runs."""

    default: str
    read: Read | None = None
    inert: bool = False


PARAMETERS = {
    "requirepass": Parameter("", _text),
    "unixsocket": Parameter(""),
    "logfile": Parameter(""),
    "pidfile": Parameter(""),
    "maxmemory": Parameter("1073741824", _size),
    "maxmemory-samples": Parameter("5", _number(1), inert=True),
    "timeout": Parameter("0", _number(0)),
    "auto-aof-rewrite-percentage": Parameter("100", _number(0), inert=True),
    "auto-aof-rewrite-min-size": Parameter("67108864", _number(0), inert=True),
    "slowlog-log-slower-than": Parameter("10000", _number(0)),
    "latency-monitor-threshold": Parameter("0", _number(0)),
    "slowlog-max-len": Parameter("128", _number(0)),
    "port": Parameter("7711"),
    "tcp-backlog": Parameter("511"),
    "databases": Parameter("16", inert=True),
    "maxclients": Parameter("10000", _number(1)),
    "watchdog-period": Parameter("0", _number(0), inert=True),
    "hz": Parameter("10", _number(1, 500, clamp=True), inert=True),
    "cluster-node-timeout": Parameter("15000", _number(0), inert=True),
    "tcp-keepalive": Parameter("no", _flag),
    "no-appendfsync-on-rewrite": Parameter("no", inert=True),
    "daemonize": Parameter("no"),
    "activerehashing": Parameter("yes", _flag, inert=True),
    "aof-rewrite-incremental-fsync": Parameter("yes", _flag, inert=True),
    "aof-load-truncated": Parameter("yes", _flag, inert=True),
    "aof-enqueue-jobs-once": Parameter("no", _flag, inert=True),
    "maxmemory-policy": Parameter("acks", _one_of("acks", "noeviction")),
    "loglevel": Parameter("notice", _one_of("debug", "verbose", "notice", "warning")),
    "appendfsync": Parameter("everysec", _one_of("always", "everysec", "no"), inert=True),
    "syslog-facility": Parameter("local0", inert=True),
    "appendonly": Parameter("no", _one_of("no")),  # a node in memory must not promise a file
    "dir": Parameter("", _directory, inert=True),
    "client-output-buffer-limit": Parameter("normal 0 0 0", _buffer_limit, inert=True),
    "unixsocketperm": Parameter("0"),
    "bind": Parameter(""),
}


class Config:
    """The values of one node, as text."""

    def __init__(self, **given: str) -> None:
        """Start from the defaults and what is given, underscores for dashes in the names."""
        self._values = {name: parameter.default for name, parameter in PARAMETERS.items()}
        self._values["dir"] = os.getcwd()  # noqa: PTH109 - its name is what is shown
        self._values.update({name.replace("_", "-"): value for name, value in given.items()})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def fix(self, name: str, value: str) -> None:
        """Note what a parameter turned out to be, settable or not."""
        self._values[name] = value

    def number(self, name: str) -> int:
        """A value that is a whole number."""
        return int(self._values[name])

    def matching(self, pattern: str) -> list[tuple[str, str]]:
        """Names and values that a glob-style pattern fits, in CONFIG GET's order."""
        fits = glob(pattern)
        return [item for item in self._values.items() if fits(item[0])]

    def set(self, name: str, value: str) -> str:
        """Change a parameter of a running node; returns its name as it is stored.

        Raises:
            DisqueError: there is no such parameter, it cannot change, or not to this.
        """
        parameter = PARAMETERS.get(name.lower())
        if parameter is None or parameter.read is None:
            raise DisqueError(f"Unsupported CONFIG parameter: {name}")
        try:
            self._values[name.lower()] = parameter.read(value)
        except ValueError:
            raise DisqueError(f"Invalid argument '{value}' for CONFIG SET '{name}'") from None
        return name.lower()


def glob(pattern: str) -> Callable[[str], object]:
    r"""A test for Disque's patterns: ``* ? [a-z] [^a] \x``, case sensitive."""
    pieces, i = [""], 0  # what stands between the stars
    while i < len(pattern):
        char = pattern[i]
        i += 1
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "."
        elif char == "[":
            members, i = _class(pattern, i)
            pieces[-1] += members
        else:
            if char == "\\" and i < len(pattern):
                char = pattern[i]
                i += 1
            pieces[-1] += re.escape(char)
    fits = pieces[0]
    if pieces[1:]:
        # Atomic: what a star took is not tried again, so no pattern holds up the node.
        fits += "".join(f"(?>.*?{piece})" for piece in pieces[1:-1]) + ".*" + pieces[-1]
    return re.compile(fits, re.DOTALL).fullmatch


def _class(pattern: str, i: int) -> tuple[str, int]:
    """What stands after a ``[``, as a regular expression, and where the rest begins."""
    negated = pattern[i : i + 1] == "^"
    i += negated
    members = ""
    while i < len(pattern) and pattern[i] != "]":
        if pattern[i] == "\\" and i + 1 < len(pattern):
            i += 1
        elif pattern[i + 1 : i + 2] == "-" and i + 2 < len(pattern):
            low, high = sorted((pattern[i], pattern[i + 2]))
            members += f"{re.escape(low)}-{re.escape(high)}"
            i += 3
            continue
        members += re.escape(pattern[i])
        i += 1
    empty = "." if negated else "(?!)"
    return (f"[{'^' * negated}{members}]" if members else empty), i + 1
