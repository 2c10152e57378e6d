"""How arguments are read, as Disque reads them.

Words become numbers and options, or a `DisqueError` that goes to the client. Nothing here has
an effect.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pydisque.errors import DisqueError
from pydisque.node.engine.job import STATES

_INTEGER = re.compile(rb"[+-]?[0-9]+")
_CURSOR = re.compile(rb"([+-]?[0-9]+)?")


def integer(word: bytes, message: str = "value is not an integer or out of range") -> int:
    """A 64 bit number; the empty word is 0, and a NUL ends it."""
    if word.isdigit() and len(word) < 19:
        return int(word)
    digits = word.partition(b"\0")[0] or b"0"
    if _INTEGER.fullmatch(digits) and -(2**63) <= (number := int(digits)) < 2**63:
        return number
    raise DisqueError(message)


def text(word: bytes) -> str:
    """A word as error texts show it: as far as its first NUL."""
    return word.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def shown(word: bytes) -> str:
    """The same for words that may be of any length: the first 128 bytes."""
    return text(word) if len(word) <= 128 else f"{text(word[:128])}..."


def shortened(args: list[bytes], most: int, longest: int) -> list[bytes]:
    """Arguments as SLOWLOG and MONITOR show them: so many of them, so many bytes of each."""
    kept = args if len(args) <= most else args[: most - 1]
    short = [arg if len(arg) <= longest else _beginning(arg, longest) for arg in kept]
    if len(args) > most:
        short.append(b"... (%d more arguments)" % (len(args) - most + 1))
    return short


def _beginning(arg: bytes, longest: int) -> bytes:
    return b"%b... (%d more bytes)" % (arg[:longest], len(arg) - longest)


def timeout(word: bytes) -> int:
    """Milliseconds, 0 for ever."""
    number = integer(word, "timeout is not an integer or out of range")
    if number < 0:
        raise DisqueError("timeout is negative")
    return number


def without_secrets(args: list[bytes]) -> list[bytes]:
    """A command as it may be shown: passwords of AUTH, HELLO and CONFIG SET are left out."""
    name, shown = args[0].lower(), len(args)
    if name == b"auth":
        shown = 1
    elif name == b"hello":
        words = [arg.lower() for arg in args]
        shown = words.index(b"auth") + 1 if b"auth" in words else shown
    elif name == b"config" and len(args) > 3 and text(args[2]).lower() == "requirepass":
        shown = 3
    return args if shown == len(args) else [*args[:shown], b"(redacted)"]


def syntax_error() -> DisqueError:
    """The generic answer to an option that is not understood."""
    return DisqueError("syntax error")


def _bounded(word: bytes, low: int, high: int, message: str) -> int:
    number = integer(word, message)
    if not low <= number <= high:
        raise DisqueError(message)
    return number


MAX = 2**63 - 1

_ADD_OPTIONS = {
    b"replicate": (1, 65535, "REPLICATE must be between 1 and 65535"),
    b"ttl": (1, MAX, "TTL must be a number > 0"),
    b"retry": (0, MAX, "RETRY time must be a non negative number"),
    b"delay": (0, MAX, "DELAY time must be a non negative number"),
    b"maxlen": (1, MAX, "MAXLEN must be a positive number"),
}


class Add(NamedTuple):
    """The options of ADDJOB; other times in seconds. `retry` is what applies, given or not."""

    ttl: int
    retry: int
    delay: int
    maxlen: int | None
    replicate: int
    timeout: int = 0
    """Milliseconds to wait for the copies, 0 for ever."""
    at_once: bool = False
    """Not to wait for them at all: ASYNC."""


def add(args: list[bytes]) -> Add:
    """ADDJOB queue body ms-timeout [option…]; what is wrong with them in Disque's order."""
    given: dict[bytes, int] = {}
    at_once = False
    i = 4
    while i < len(args):
        word = args[i].lower()
        if word in _ADD_OPTIONS and i + 1 < len(args):
            i += 1
            given[word] = _bounded(args[i], *_ADD_OPTIONS[word])
        elif word == b"async":
            at_once = True
        else:
            raise syntax_error()
        i += 1
    wait = timeout(args[3])
    ttl = given.get(b"ttl", 86400)
    retry = given.get(b"retry", max(1, min(300, ttl // 10)))
    replicate = given.get(b"replicate", 1)
    delay = given.get(b"delay", 0)
    if replicate > 1 and retry == 0:
        raise DisqueError(
            "With RETRY set to 0 please explicitly set  REPLICATE to 1 (at-most-once delivery)"
        )
    if delay >= ttl:
        raise DisqueError(
            "The specified DELAY is greater than TTL. Job refused since would never be delivered"
        )
    return Add(ttl, retry, delay, given.get(b"maxlen"), replicate, wait, at_once)


def nack(args: list[bytes]) -> tuple[list[bytes], int]:
    """NACK [id…] [DELAY seconds]: the IDs, and 0 for no delay. No ID looks like the option."""
    if len(args) > 1 and args[-1].lower() == b"delay":
        raise DisqueError(_ADD_OPTIONS[b"delay"][-1])
    if len(args) > 2 and args[-2].lower() == b"delay":
        return args[1:-2], _bounded(args[-1], *_ADD_OPTIONS[b"delay"])
    return args[1:], 0


def enqueue(args: list[bytes]) -> tuple[list[bytes], bool]:
    """ENQUEUE [id…] [UNCOUNTED]: the IDs, and whether the option is there. No ID looks like it."""
    if args[-1].lower() == b"uncounted" and len(args) > 1:
        return args[1:-1], True
    return args[1:], False


MAX_QUEUES = 10_000
"""Maximum number of queues of one GETJOB; Disque has no limit."""


class Get(NamedTuple):
    """The options of GETJOB; `timeout` in milliseconds, 0 for ever."""

    queues: list[bytes]
    limit: int = 1
    timeout: int = 0
    nohang: bool = False
    counters: bool = False


def get(args: list[bytes]) -> Get:
    """GETJOB [NOHANG] [TIMEOUT ms] [COUNT n] [WITHCOUNTERS] FROM queue [queue…]."""
    count, wait = 1, 0
    flags = set[bytes]()
    i = 1
    while i < len(args) - 1:
        word = args[i].lower()
        if word == b"from":
            queues = args[i + 1 :]
            if len(queues) > MAX_QUEUES:
                raise DisqueError(f"GETJOB takes at most {MAX_QUEUES} queues")
            return Get(queues, count, wait, b"nohang" in flags, b"withcounters" in flags)
        if word in (b"nohang", b"withcounters"):
            flags.add(word)
        elif word == b"timeout":
            i += 1
            wait = timeout(args[i])
        elif word == b"count":
            i += 1
            count = _bounded(args[i], 1, MAX, "COUNT must be a number greater than zero")
        else:
            raise syntax_error()
        i += 1
    raise syntax_error()


class Scan(NamedTuple):
    """The options of QSCAN and JSCAN."""

    cursor: int
    limit: int
    numbers: dict[bytes, int]
    queue: bytes | None
    states: list[bytes]
    whole: bool


def scan(args: list[bytes], options: frozenset[bytes], most: int) -> Scan:
    """QSCAN and JSCAN [cursor] [option…], with the options that the command has.

    `most` is the limit where everything is wanted: BUSYLOOP or a negative COUNT.
    """
    cursor: int | None = None
    numbers: dict[bytes, int] = {}
    queue: bytes | None = None
    states: list[bytes] = []
    whole = busyloop = False
    i = 1
    while i < len(args):
        word = args[i].lower()
        if word == b"busyloop":
            busyloop = True
        elif word in options and i + 1 < len(args):
            i += 1
            if word == b"queue":
                queue = args[i]
            elif word == b"state":
                states.append(_state(args[i]))
            elif word == b"reply":
                whole = _reply(args[i])
            else:
                numbers[word] = integer(args[i])
        elif cursor is None:
            cursor = _cursor(args[i])
        else:
            raise syntax_error()
        i += 1
    limit = numbers.get(b"count", 100)
    limit = most if busyloop or limit < 0 else min(limit, most)
    return Scan(cursor or 0, limit, numbers, queue, states, whole)


def _cursor(word: bytes) -> int:
    """An unsigned number; a negative one wraps round, and a NUL ends it."""
    word = word.partition(b"\0")[0]
    if not _CURSOR.fullmatch(word) or abs(number := int(word or b"0")) >= 2**64:
        raise DisqueError("invalid cursor or option name")
    return number % 2**64


def _state(word: bytes) -> bytes:
    for state in STATES:
        if state == word.lower():
            return state
    raise DisqueError("Invalid job state name")


def _reply(word: bytes) -> bool:
    if word.lower() not in (b"id", b"all"):
        raise DisqueError("Invalid REPLY type, try ID or ALL")
    return word.lower() == b"all"


def pause(args: list[bytes]) -> tuple[bool, bool] | None:
    """PAUSE queue word…: what in and out shall be, or None to leave them as they are."""
    paused: tuple[bool, bool] | None = None
    for arg in args[2:]:
        word = arg.lower()
        into, out = paused or (False, False)
        if word in (b"in", b"out", b"all", b"none"):
            paused = (into or word != b"out", out or word != b"in")
            if word == b"none":
                paused = (False, False)
        elif word not in (b"state", b"bcast"):
            raise syntax_error()
    return paused
