"""What a command's arguments must look like before anything is sent.

Each function answers for one kind of argument: it returns the value as it goes on the wire, or
raises an error that names the argument, the value given and what is allowed. The limits
themselves stand with the commands; nothing here knows a command.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

Text: TypeAlias = str | bytes | bytearray | memoryview | int | float
Argument: TypeAlias = str | bytes | memoryview
"""As it goes to hiredis. No number does: hiredis dies of a signal (Ctrl-C) that raises while it
makes text of one."""

# Exact types: a bool is an int to isinstance, and "True" is no word of the protocol.
_ON_THE_WIRE = frozenset({str, bytes, memoryview})
SMALLEST = -(2**63)
LARGEST = 2**63 - 1
_JOB_ID_LENGTH = 40

MAX_TEXT = 512 * 1024 * 1024
"""Bytes of one argument, as nodes take them (antirez's Disque too); they close beyond."""
_SURELY_FITS = MAX_TEXT // 8  # characters or items of a memoryview, whatever bytes they take
_JOB_ID = re.compile(r"D-[0-9a-f]{8}-[A-Za-z0-9+/]{24}-[0-9a-f]{4}")


def text(name: str, value: Any) -> Argument:
    """A name, a body or a raw word: text, bytes or a number."""
    if type(value) in _ON_THE_WIRE and len(value) <= _SURELY_FITS:
        return value  # type: ignore[no-any-return]
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        _check_size(name, value)
        return bytes(value) if isinstance(value, bytearray) else value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Of an enumeration's member str() may be its name.
        return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)
    raise TypeError(f"{name} must be str, bytes, int or float, not {value!r}")


def _check_size(name: str, value: str | bytes | bytearray | memoryview) -> None:
    if len(value) <= _SURELY_FITS:
        return
    if isinstance(value, str):
        size = len(value.encode(errors="surrogatepass"))
    else:
        size = memoryview(value).nbytes
    if size > MAX_TEXT:
        raise ValueError(f"{name} must be at most {MAX_TEXT} bytes (512 MiB), not {size}")


def integer(name: str, value: Any, least: int = SMALLEST, most: int = LARGEST) -> int:
    """A whole number between two limits, both included."""
    if type(value) is not int:
        value = _index(name, value)
    if not least <= value <= most:
        endless = most == LARGEST and value < least  # then the other end is of no interest
        allowed = f"{least} or more" if endless else f"between {least} and {most}"
        raise ValueError(f"{name} must be {allowed}, not {value}")
    return value  # type: ignore[no-any-return]


def number(name: str, value: Any, least: int = SMALLEST, most: int = LARGEST) -> str:
    """The same as it goes on the wire."""
    return str(integer(name, value, least, most))


def cursor(value: Any) -> Argument:
    """A scan's cursor: 0, or what the last reply gave, which is text."""
    if isinstance(value, (str, bytes)):
        if not value.isdigit():
            raise ValueError(f"cursor must be 0 or a cursor from the last reply, not {value!r}")
        return value
    return number("cursor", value, 0, 2**64 - 1)


def several(name: str, values: Any) -> Iterable[Any]:
    """A list or the like; a lone string is refused, for its letters would be taken one by one."""
    if isinstance(values, (list, tuple)):  # nearly always; the question below takes its time
        return values
    if isinstance(values, (str, bytes, bytearray, memoryview)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list, such as ['mail'], not {values!r}")
    return values


def names(name: str, values: Any) -> list[Argument]:
    """One or more names."""
    each = f"each of {name}"
    found = [text(each, value) for value in several(name, values)]
    if not found:
        raise ValueError(f"{name} must hold at least one name")
    return found


def job_ids(values: tuple[Any, ...]) -> tuple[Argument, ...]:
    """Job IDs, given one by one; whether each is one the node says."""
    for value in values:
        job_id(value)
    return values


def job_id(value: Any) -> Argument:
    """One job ID, as ADDJOB or GETJOB gave it; its shape is for the node to judge."""
    if not isinstance(value, (str, bytes)):
        raise TypeError(
            f"a job ID is str or bytes of {_JOB_ID_LENGTH} letters, given one by one, not {value!r}"
        )
    return value


def is_job_id(value: str) -> bool:
    """Whether what somebody typed looks like a job ID."""
    return _JOB_ID.fullmatch(value) is not None


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of a few words, in any case, as str or bytes."""
    word = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(word, str):
        raise TypeError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    if word.lower() not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return word


def word(arg: Argument) -> str:
    """An argument as an upper-case word, to be compared with names and options."""
    text = bytes(arg).decode(errors="replace") if isinstance(arg, (bytes, memoryview)) else str(arg)
    return text.upper()


def _index(name: str, value: Any) -> int:
    """What stands for an int; its text does too, as it did for programs that read it somewhere."""
    if isinstance(value, (str, bytes)):
        with contextlib.suppress(ValueError):
            return int(value)
    elif not isinstance(value, bool) and hasattr(value, "__index__"):
        return int(value.__index__())
    raise TypeError(f"{name} must be an int, not {value!r}")
