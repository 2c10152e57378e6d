"""Arguments are read as Disque reads them, and refused with its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.errors import DisqueError
from pydisque.node.wire import arguments
from pydisque.node.wire.arguments import Add, Get

NOT_A_NUMBER = "value is not an integer or out of range"


def words(line: str) -> list[bytes]:
    """A line's words; ``''`` stands for the empty one."""
    return [b"" if word == "''" else word.encode() for word in line.split()]


def refused(read: object, *args: object) -> str:
    with pytest.raises(DisqueError) as caught:
        read(*args)  # type: ignore[operator]
    return str(caught.value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_64_bit_number_is_read(number: int) -> None:
    """Whatever sign and zeros stand before it, a number of 64 bits is itself."""
    assert arguments.integer(b"%d" % number) == number
    assert arguments.integer(b"%s000%d" % (b"-" if number < 0 else b"+", abs(number))) == number


@pytest.mark.parametrize(("word", "number"), [(b"", 0), (b"7\0x", 7), (b"\0", 0), (b"-0", 0)])
def test_odd_numbers(word: bytes, number: int) -> None:
    """The empty word is 0 and a NUL ends a number: so it is in C."""
    assert arguments.integer(word) == number


@pytest.mark.parametrize(
    "word",
    [b" 1", b"1 ", b"0x10", b"1.0", b"1e3", b"+", b"-", b"--1", b"9223372036854775808",
     b"-9223372036854775809", b"\xd9\xa3", b"1\n", b"1_0"],
)  # fmt: skip
def test_no_numbers(word: bytes) -> None:
    """Blanks, fractions, other bases and more than 64 bits are refused."""
    assert refused(arguments.integer, word) == NOT_A_NUMBER


def test_timeouts() -> None:
    """A timeout has texts of its own for what is no number and for what is negative."""
    assert arguments.timeout(b"15") == 15
    assert refused(arguments.timeout, b"x") == "timeout is not an integer or out of range"
    assert refused(arguments.timeout, b"-1") == "timeout is negative"


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", Add(86400, 300, 0, None, 1)),
        ("ASYNC", Add(86400, 300, 0, None, 1, at_once=True)),
        ("TTL 5", Add(5, 1, 0, None, 1)),
        ("ttl 1000", Add(1000, 100, 0, None, 1)),
        ("TTL 100 RETRY 0", Add(100, 0, 0, None, 1)),
        ("RETRY ''", Add(86400, 0, 0, None, 1)),
        ("RETRY 5 RETRY 7", Add(86400, 7, 0, None, 1)),
        ("DELAY 3 MAXLEN 4 REPLICATE 2", Add(86400, 300, 3, 4, 2)),
    ],
)
def test_the_options_of_addjob(line: str, options: Add) -> None:
    """Options in any order and case, the last wins; RETRY is a tenth of the TTL by default."""
    assert arguments.add(words("ADDJOB q body 0 " + line)) == options


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("0 BOGUS", "syntax error"),
        ("0 TTL", "syntax error"),
        ("0 TTL 0", "TTL must be a number > 0"),
        ("0 TTL x", "TTL must be a number > 0"),
        ("0 RETRY -1", "RETRY time must be a non negative number"),
        ("0 DELAY -1", "DELAY time must be a non negative number"),
        ("0 MAXLEN 0", "MAXLEN must be a positive number"),
        ("0 REPLICATE 0", "REPLICATE must be between 1 and 65535"),
        ("0 REPLICATE 65536", "REPLICATE must be between 1 and 65535"),
        ("x TTL 0", "TTL must be a number > 0"),
        ("x BOGUS", "syntax error"),
        ("x", "timeout is not an integer or out of range"),
        ("-1", "timeout is negative"),
        ("-1 DELAY 5 TTL 5", "timeout is negative"),
        (
            "0 RETRY 0 REPLICATE 2 DELAY 9 TTL 5",
            "With RETRY set to 0 please explicitly set  REPLICATE to 1 (at-most-once delivery)",
        ),
        (
            "0 DELAY 5 TTL 5",
            "The specified DELAY is greater than TTL. Job refused since would never be delivered",
        ),
    ],
)
def test_what_addjob_refuses_first(line: str, error: str) -> None:
    """Options are judged from left to right, then the timeout, then what does not go together."""
    assert refused(arguments.add, words("ADDJOB q body " + line)) == error


@pytest.mark.parametrize(
    ("line", "ids", "delay"),
    [
        ("", "", 0),
        ("a b", "a b", 0),
        ("a b DELAY 5", "a b", 5),
        ("a delay +07", "a", 7),
        ("Delay 0", "", 0),
        ("a DELAY 9223372036854775807", "a", 2**63 - 1),
        ("a DELAY 5 b", "a DELAY 5 b", 0),  # none of these is an ID
        ("a DELAY 1 DELAY 2", "a DELAY 1", 2),
    ],
)
def test_the_option_of_nack(line: str, ids: str, delay: int) -> None:
    """DELAY and its number come last, in any case; all else is for whoever knows IDs."""
    assert arguments.nack(words("NACK " + line)) == (words(ids), delay)


@pytest.mark.parametrize("line", ["DELAY", "a DELAY", "a DELAY x", "a DELAY -1", "a delay delay"])
def test_what_nack_refuses(line: str) -> None:
    """A delay is told in seconds, and they are not negative."""
    error = refused(arguments.nack, words("NACK " + line))
    assert error == "DELAY time must be a non negative number"


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("FROM a", Get([b"a"])),
        ("from a b a", Get([b"a", b"b", b"a"])),
        ("FROM FROM", Get([b"FROM"])),
        ("NOHANG WITHCOUNTERS FROM a", Get([b"a"], nohang=True, counters=True)),
        ("TIMEOUT 5 COUNT 2 TIMEOUT 7 FROM a", Get([b"a"], 2, 7)),
        ("TIMEOUT '' FROM a NOHANG", Get([b"a", b"NOHANG"])),
    ],
)
def test_the_options_of_getjob(line: str, options: Get) -> None:
    """Everything behind FROM is a queue, whatever it looks like."""
    assert arguments.get(words("GETJOB " + line)) == options


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", "syntax error"),
        ("a", "syntax error"),
        ("FROM", "syntax error"),
        ("NOHANG FROM", "syntax error"),
        ("COUNT", "syntax error"),
        ("BOGUS COUNT 0 FROM q", "syntax error"),
        ("COUNT 0 FROM q", "COUNT must be a number greater than zero"),
        ("COUNT -1 BOGUS FROM q", "COUNT must be a number greater than zero"),
        ("TIMEOUT x FROM q", "timeout is not an integer or out of range"),
        ("TIMEOUT -1 COUNT 0 FROM q", "timeout is negative"),
    ],
)
def test_what_getjob_refuses_first(line: str, error: str) -> None:
    """The first offending word decides."""
    assert refused(arguments.get, words("GETJOB " + line)) == error


JSCAN = frozenset({b"count", b"queue", b"state", b"reply"})


def test_the_options_of_scans() -> None:
    """The word that is no option is the cursor, wherever it stands; states add up."""
    scan = arguments.scan(words("JSCAN STATE Queued 7 state active QUEUE q REPLY ALL"), JSCAN, 999)
    assert (scan.cursor, scan.limit, scan.queue, scan.whole) == (7, 100, b"q", True)
    assert scan.states == [b"queued", b"active"]


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("", 100),
        ("COUNT 5", 5),
        ("COUNT 0", 0),
        ("COUNT 1000", 999),
        ("COUNT -1", 999),
        ("COUNT 5 BUSYLOOP", 999),
    ],
)
def test_how_much_a_scan_takes_at_a_time(line: str, limit: int) -> None:
    """100 by default; a negative COUNT or BUSYLOOP for as many as there may be."""
    assert arguments.scan(words("JSCAN " + line), JSCAN, 999).limit == limit


@pytest.mark.parametrize(
    ("word", "cursor"), [(b"", 0), (b"-1", 2**64 - 1), (b"+3", 3), (b"12\0x", 12)]
)
def test_cursors_are_unsigned(word: bytes, cursor: int) -> None:
    """A negative cursor wraps round, as it does in C; nothing is 0."""
    assert arguments.scan([b"JSCAN", word], JSCAN, 999).cursor == cursor


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("x", "invalid cursor or option name"),
        ("-", "invalid cursor or option name"),
        ("99999999999999999999", "invalid cursor or option name"),
        ("COUNT", "invalid cursor or option name"),
        ("MINLEN 5", "invalid cursor or option name"),
        ("1 2", "syntax error"),
        ("1 COUNT", "syntax error"),
        ("COUNT x", NOT_A_NUMBER),
        ("STATE bogus", "Invalid job state name"),
        ("REPLY x", "Invalid REPLY type, try ID or ALL"),
    ],
)
def test_what_scans_refuse(line: str, error: str) -> None:
    """An option without its value is taken for a cursor, and one cursor is enough."""
    assert refused(arguments.scan, words("JSCAN " + line), JSCAN, 999) == error


@pytest.mark.parametrize(
    ("line", "paused"),
    [
        ("state", None),
        ("bcast STATE", None),
        ("in", (True, False)),
        ("OUT", (False, True)),
        ("in out", (True, True)),
        ("all", (True, True)),
        ("in none", (False, False)),
        ("none out bcast", (False, True)),
        ("all in", (True, True)),
    ],
)
def test_the_words_of_pause(line: str, paused: tuple[bool, bool] | None) -> None:
    """Within one command the words add up from left to right; `none` clears what came before."""
    assert arguments.pause(words("PAUSE q " + line)) == paused


def test_pause_refuses_other_words() -> None:
    """One unknown word spoils the command."""
    assert refused(arguments.pause, words("PAUSE q in bogus")) == "syntax error"
