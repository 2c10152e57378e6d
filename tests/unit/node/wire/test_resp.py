"""RESP: the same stream gives the same requests however it is cut, and its faults end it."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
import weakref

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydisque.node.wire import resp
from pydisque.node.wire.resp import (
    OtherProtocolError,
    ProtocolError,
    RequestParser,
    quote,
    split_words,
)

PING = b"*1\r\n$4\r\nPING\r\n"


def pack(*args: bytes) -> bytes:
    return resp.bulks(args)


def parse(*chunks: bytes) -> tuple[list[list[bytes]], str | None]:
    """The requests in a stream that arrives in these chunks, and what was wrong in the end."""
    return parsed_by(RequestParser(), *chunks)


def parsed_by(parser: RequestParser, *chunks: bytes) -> tuple[list[list[bytes]], str | None]:
    """The same with this parser."""
    requests = []
    try:
        for chunk in chunks:
            requests += parser.take(chunk)
            while parser.more:
                requests += parser.parse()
    except ProtocolError as error:
        return requests, str(error)
    return requests, None


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """A stream in pieces, cut at these places."""
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[i : i + 1] for i in range(len(stream))]


# Requests


@pytest.mark.parametrize(
    "args",
    [
        [b"PING"],
        [b"ADDJOB", b"q", b"", b"0"],
        [b"ADDJOB", b"q", b"a\r\nb\r\n", b"0"],
        [b"ADDJOB", b"\0\xff\r\n", b"$3\r\nfoo\r\n", b"0"],
        [b"ACKJOB", *[b"D-%038d" % n for n in range(2000)]],
        [b"ADDJOB", b"q", b"x" * 5000, b"0"],
        [b"ADDJOB", b"q", b"\r\n" * 1_000_000, b"0"],
        [b"", b""],
    ],
)
def test_any_bytes_travel_as_arguments(args: list[bytes]) -> None:
    """Arguments hold any byte, may be empty, many or large; requests follow each other."""
    assert parse(pack(*args) + PING + pack(*args)) == ([args, [b"PING"], args], None)


@pytest.mark.parametrize("empty", [b"*0\r\n", b"*-1\r\n", b"*-7\r\n", b"\r\n", b"\n", b"  \t \r\n"])
def test_empty_requests_are_skipped(empty: bytes) -> None:
    """No arguments, no command: nothing to answer."""
    assert parse(empty + PING + empty) == ([[b"PING"]], None)


def test_what_follows_a_payload_is_not_looked_at() -> None:
    """The two bytes after a bulk are skipped, as is the byte after the CR of a header."""
    assert parse(b"*2\rX$4\rXPINGxx$1\r\nayy" + PING) == ([[b"PING", b"a"], [b"PING"]], None)


# Faults


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"* 1\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\n$4\r\nPING\r\n", "invalid multibulk length"),
        (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
        (b"*1\r\n\r\n", "expected '$', got '\r'"),
        (b"*1\r\n\xff\r\n", "expected '$', got '\udcff'"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$+4\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"x" * 65537, "too big inline request"),
        (b"*" + b"1" * 65536, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 65536, "too big bulk count string"),
        (b'PING "a\r\n', "unbalanced quotes in request"),
        (b"PING 'a\r\n", "unbalanced quotes in request"),
        (b'PING "a"b\r\n', "unbalanced quotes in request"),
        (b"PING 'a'b\r\n", "unbalanced quotes in request"),
    ],
)
def test_faults(stream: bytes, error: str) -> None:
    """Each fault has its text; what came before it stands, what comes after is ignored."""
    assert parse(PING + stream, PING) == ([[b"PING"]], error)
    assert parse(*cut(PING + stream, [*range(40), 60_000]), PING) == ([[b"PING"]], error)


@pytest.mark.parametrize("start", [b"", b"*", b"*1\r\n$"])
def test_the_longest_line(start: bytes) -> None:
    """A line of 65536 bytes without its end may still become one; that much is no fault yet."""
    line = start + b"1" * (65536 - len(start.rpartition(b"\n")[2]))
    assert parse(line) == ([], None)
    assert parse(line + b"1")[1] is not None
    assert parse(line + b"1\r\n")[1] is not None  # all at once or piece by piece: the same


def test_the_largest_numbers() -> None:
    """1048576 arguments and 512 MiB each are allowed, so their headers are no faults."""
    assert parse(b"*1048576\r\n$536870912\r\nx") == ([], None)


def test_an_endless_request_is_cut_off() -> None:
    """A request that never ends may not take more memory than it was told."""
    for stream in (
        b"*9\r\n" + b"$1000\r\n" + b"x" * 20_000,
        b"*50\r\n" + pack(b"x" * 999)[4:] * 20,
    ):
        chunks = cut(stream, list(range(0, len(stream), 700)))
        error = "too big request, it may hold 10000 bytes"
        assert parsed_by(RequestParser(max_request=10_000), *chunks) == ([], error)


def test_a_large_request_is_refused_however_it_arrives() -> None:
    """What is more than a request may hold, or more arguments, is so in one piece too."""
    small = pack(b"x" * 90)
    stream = small * 2 + pack(b"x", b"y" * 100)
    for split in ([], [20], [50, 100]):
        parser = RequestParser(max_request=100, max_arguments=3)
        requests, error = parsed_by(parser, *cut(stream, split))
        assert (len(requests), error) == (2, "too big request, it may hold 100 bytes")
    parser = RequestParser(max_request=100, max_arguments=3)
    assert parsed_by(parser, pack(b"a", b"b", b"c")) == ([[b"a", b"b", b"c"]], None)
    assert parsed_by(parser, pack(*[b"a"] * 4)) == ([], "invalid multibulk length")


def test_a_fault_holds_nothing() -> None:
    """A parser that met a fault goes when its connection does, not when garbage is collected."""
    parser = RequestParser()
    assert parsed_by(parser, b"*x\r\n" + b"x" * 100_000)[1]
    gone = weakref.ref(parser)
    gc.disable()
    try:
        del parser
        assert gone() is None
    finally:
        gc.enable()


def test_pending_counts_what_is_kept() -> None:
    """`pending` tells how much of an unfinished request is held, and is 0 when there is none."""
    parser = RequestParser()
    parsed_by(parser, b"*2\r\n$3\r\nabc\r\n$9\r\n12345")
    assert parser.pending == 3 + len(b"$9\r\n12345")
    assert parsed_by(parser, b"6789\r\n") == ([[b"abc", b"123456789"]], None)
    assert parser.pending == 0
    parsed_by(parser, b"*2\r\n$70000\r\n" + b"x" * 50_000)
    assert parser.pending == 50_000
    assert parsed_by(parser, b"x" * 20_000 + b"\r\n*") == ([], None)
    assert parser.pending == 70_001


@pytest.mark.parametrize("arg", [b"", b"x", b"xx"])
def test_memory_counts_what_objects_take(arg: bytes) -> None:
    """Small arguments of an unfinished request count with the memory that Python needs for them."""
    parser = RequestParser()
    tracemalloc.start()
    parsed_by(parser, b"*30001\r\n" + pack(arg)[4:] * 30_000)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert parser.pending == len(arg) * 30_000
    shared = len(arg) < 2  # Python has one object of each such value
    assert taken * 0.8 <= parser.memory <= taken * (9 if shared else 1.6)


def test_a_large_argument_is_held_once() -> None:
    """An argument that arrives in many parts takes no more than an eighth beyond its size."""
    parser, part = RequestParser(), b"x" * 100_000
    parsed_by(parser, b"*1\r\n$20000000\r\n")
    tracemalloc.start()
    assert parsed_by(parser, *[part] * 200, b"\r\n")[0] == [[part * 200]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000 * 2.2  # what is compared with is as large


@pytest.mark.parametrize(
    "stream",
    [
        b"p\n" * 500_000, b"\n" * 500_000, b"*0\r\n" * 250_000, PING * 100_000,
        b"*1048576\r\n" + b"$1\r\na\r\n" * 150_000, pack(b"*1", b"x" * 5000) * 200,
    ],
)  # fmt: skip
def test_one_call_parses_a_bounded_part(stream: bytes) -> None:
    """However much has arrived, `parse` goes on by no more than its window."""
    parser = RequestParser()
    parser.feed(stream)
    left = parser.pending
    while parser.more:
        parser.parse()
        before, left = left, parser.pending
        assert before - left <= 80_000


# Any split parses alike

_args = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([b"\r\n", b"*1\r\n", b"$4\r\n", b"PING", b"", b"x" * 4096, b"y" * 4097]),
        st.integers(0, 70_000).map(lambda size: b"\r\nz" * (size // 3)),
    ),
    min_size=1,
    max_size=5,
).map(lambda args: pack(*args))
_inline = st.lists(st.sampled_from([b"PING", b'"a b"', b"'c'", b" ", b"x"]), max_size=4).map(
    lambda words: b" ".join(words) + b"\r\n"
)
_scrap = st.lists(
    st.sampled_from([
        b"*", b"$", b"1", b"2", b"-1", b"0", b"\r", b"\n", b"\r\n", b'"', b"'", b"\\", b"\0", b" ",
        b"PING", b"$4\r\nPING\r\n", b"*1\r\n", b"*2\r\n", b"1048577", b"x" * 65530, b"1" * 70_000,
    ]),
    max_size=8,
).map(b"".join)  # fmt: skip
_streams = st.lists(st.one_of(_args, _args, _inline, _scrap), max_size=5).map(b"".join)


@settings(max_examples=300)
@given(_streams, st.lists(st.integers(0, 2**20), max_size=12))
def test_any_split_parses_alike(stream: bytes, places: list[int]) -> None:
    """Requests, their order and the fault at the end do not depend on how the bytes arrive."""
    assert parse(*cut(stream, places)) == parse(stream)


@settings(max_examples=100)
@given(
    st.lists(st.one_of(_args.filter(lambda s: len(s) < 3000), _inline), max_size=3).map(b"".join)
)
def test_byte_by_byte(stream: bytes) -> None:
    """Even one byte at a time."""
    assert parse(*one_by_one(stream)) == parse(stream)


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=6), max_size=6))
def test_what_was_packed_is_parsed(requests: list[list[bytes]]) -> None:
    """Well-formed requests come out as they went in."""
    assert parse(b"".join(pack(*args) for args in requests)) == (requests, None)


# Words of inline commands


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"PING", [b"PING"]),
        (b" \v a\tb  c\vd ", [b"a", b"b", b"c\vd"]),
        (b"\"a b\" 'c d'", [b"a b", b"c d"]),
        (rb'"\n\r\t\b\a\x41\x4a\zq\"\\"', [b'\n\r\t\b\aAJzq"\\']),
        (rb'"\xzz\x4"', [b"xzzx4"]),
        (rb"'it\'s \n'", [rb"it's \n"]),
        (b'a"b c"', [b"ab c"]),
        (b"\"\" a ''", [b"a"]),
        (b"a\0b c", [b"a"]),
        (b'"a', None),
        (b"'a", None),
        (b'"a"b', None),
        (b'"a\\"', None),
        (b"\xff\xfe", [b"\xff\xfe"]),
    ],
)
def test_words(line: bytes, words: list[bytes] | None) -> None:
    """Quotes hold blanks, escapes are resolved, empty words are dropped; None when unbalanced."""
    assert split_words(line) == words


@given(st.lists(st.binary(min_size=1)))
def test_quoted_words_are_read_back(words: list[bytes]) -> None:
    """What MONITOR shows can be typed in again, whatever bytes it holds, on one line."""
    line = b" ".join(map(quote, words))
    assert split_words(line) == words
    assert not set(line) - set(range(32, 127))


@given(st.binary(max_size=40))
def test_any_line_gives_words_or_none(line: bytes) -> None:
    """No line breaks it, and no word it gives is empty."""
    words = split_words(line)
    assert words is None or all(words)


# Replies


def test_replies_on_the_wire() -> None:
    """Each kind of reply looks as RESP2 says; statuses and errors stay on one line."""
    assert resp.status(b"a\r\nb") == b"+a  b\r\n"
    assert resp.error("ERR caf\xe9 \udcff\n") == b"-ERR caf\xc3\xa9 \xff \r\n"
    assert [resp.integer(n) for n in (-1, 0, 255, 256)] == [
        b":-1\r\n", b":0\r\n", b":255\r\n", b":256\r\n"
    ]  # fmt: skip
    assert (resp.bulk(b""), resp.bulk(None)) == (b"$0\r\n\r\n", b"$-1\r\n")
    assert resp.bulks([b"a", None]) == b"*2\r\n$1\r\na\r\n$-1\r\n"
    assert resp.array([]) == b"*0\r\n"


def read(reply: bytes) -> object:
    reader = hiredis.Reader()
    reader.feed(reply)
    value = reader.gets()
    assert value is not False
    assert not reader.has_data()
    return value


_replies = st.recursive(
    st.one_of(
        st.sampled_from([resp.NIL, resp.NIL_ARRAY, resp.OK, b":-1\r\n"]),
        st.binary(max_size=8).map(resp.bulk),
        st.lists(st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"x", b"\r\n"]))
        .map(b"".join)
        .map(resp.bulk),
    ),
    lambda inner: st.lists(inner, max_size=4).map(resp.array),
)


@given(_replies)
def test_resp3_says_the_same(reply: bytes) -> None:
    """In RESP3 the nils are one type of their own, all else is untouched, payloads above all."""
    assert read(resp.to_resp3(reply)) == read(reply)


def test_nil_in_resp3() -> None:
    """Both nils become the one of RESP3; what only looks like one inside a payload stays."""
    reply = resp.array([resp.NIL, resp.NIL_ARRAY, resp.bulk(b"$-1\r\n")])
    assert resp.to_resp3(reply) == b"*3\r\n_\r\n_\r\n$5\r\n$-1\r\n\r\n"


def short_parser() -> RequestParser:
    parser = RequestParser()
    parser.limit(short=True)
    return parser


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (pack(*[b"x"] * 10), None),
        (pack(*[b"x"] * 11), "unauthenticated multibulk length"),
        (pack(b"AUTH", b"x" * 16384), None),
        (pack(b"AUTH", b"x" * 16385), "unauthenticated bulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"*99999999\r\n", "invalid multibulk length"),
    ],
)
def test_short_requests(request_: bytes, told: str | None) -> None:
    """Before it is known who sends them requests must be short, however they are cut."""
    for size in (len(request_), 1000):
        pieces = [request_[i : i + size] for i in range(0, len(request_), size)]
        requests, error = parsed_by(short_parser(), *pieces)
        assert (len(requests), error) == (told is None, told)


def test_a_long_request_behind_a_short_one() -> None:
    """It is parsed in another call: when the first was the login it is read, else it is a fault."""
    long = pack(b"ADDJOB", b"q", b"x" * 20_000, b"0")
    for known in (True, False):
        parser = short_parser()
        parser.feed(pack(b"AUTH", b"pw") + long + pack(b"PING"))
        assert parser.parse() == [[b"AUTH", b"pw"]]
        assert parser.more
        parser.limit(short=not known)
        requests, error = parsed_by(parser, b"")
        assert [len(args) for args in requests] == ([4, 1] if known else [])
        assert error == (None if known else "unauthenticated bulk length")


# Other protocols


@pytest.mark.parametrize(
    "line",
    [
        b"POST / HTTP/1.1", b"GET /\xff?a=%0aDEBUG HTTP/1.0", b"OPTIONS * http/1.1 \t",
        b"PRI * HTTP/2.0", b"GET / HTTP/3", b"CONNECT x:1 HTTP/1.1", b"GET /'\"a HTTP/1.1",
        b"x" * 5000 + b" HTTP/1.1", b"Host: localhost:7711", b"host:x", b" HOST: x",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)  # fmt: skip
def test_other_protocols_end_the_stream(line: bytes) -> None:
    """No line behind one that HTTP or TLS begins with is read, however the bytes are cut."""
    for end in (b"\r\n", b"\n"):
        stream = pack(b"PING") + line + end + b"DEBUG FLUSHALL\r\n"
        for chunks in ([stream], one_by_one(stream)):
            parser = RequestParser()
            requests, error = parsed_by(parser, *chunks)
            assert requests == [[b"PING"]]
            assert "HTTP or TLS" in error
            with pytest.raises(OtherProtocolError):
                parser.parse()


@pytest.mark.parametrize(
    "line", [b"PING HTTP/1.1x", b"PING HTTP", b"HTTP/ PING", b"PING Host:", b"hosts"]
)
def test_other_lines_are_commands(line: bytes) -> None:
    """Lines that only look like it are read as ever, and so is anything in an array."""
    assert parse(line + b"\r\n") == ([line.split()], None)
    args = [b"PING", b"GET / HTTP/1.1\r\nHost: x"]
    assert parse(pack(*args)) == ([args], None)
