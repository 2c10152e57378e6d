"""RESP without I/O: bytes in, requests out; values in, reply bytes out.

Decides what is a well-formed request, and where a malformed one ends the conversation. Knows
nothing of commands, connections or time. Requests are arrays of bulks or inline text lines
(RESP2); the rules, their limits and their error texts are Disque's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

MAX_ARGUMENTS = 1024 * 1024
MAX_BULK = 512 * 1024 * 1024
MAX_LINE = 64 * 1024
SHORT_ARGUMENTS = 10
SHORT_BULK = 16 * 1024
"""What a client may send before the node knows who it is: enough to log in."""
MAX_REQUEST = 1024 * 1024 * 1024
"""Bytes one request may hold, if nothing else is said; a client that sends more is cut off."""

Request = list[bytes]

# What the usual requests are made of: spelt out once, so that most are recognised, not parsed.
_COUNTS = {b"*%d" % n: n for n in range(1, 1025)}
_SIZES = [b"$%d" % n for n in range(4097)]
_WINDOW = 16 * 1024
"""Bytes that one call of `parse` looks at, so that it takes less than a millisecond."""
_STEPS = 256
"""Headers, arguments and lines that it reads one by one, for the same reason."""
_LARGE = 64 * 1024
"""Bytes of an argument from which on its parts are not looked at again with each that arrives, and
of what is read one by one."""
_LONGEST_GLANCE = 1024 * 1024
_NUMBER = re.compile(rb"0|-?[1-9][0-9]{0,18}")

ARGUMENT_COST = 64
"""Bytes of memory that an argument takes beside what is in it: an object and a place in a list."""
REQUEST_COST = 88
"""The same for a request: a list and a place in another."""


class ProtocolError(Exception):
    """The client does not speak RESP: the text goes to it as an error, then it is cut off."""


class RequestTooLargeError(ProtocolError):
    """One request holds more than it may."""

    def __init__(self, limit: int) -> None:
        """Say how much it may hold."""
        super().__init__(f"too big request, it may hold {limit} bytes")


class OtherProtocolError(ProtocolError):
    """The client speaks another protocol, perhaps for a page in a browser: it gets no reply."""


class RequestParser:
    """Cuts a stream of bytes, however split, into requests.

    `feed` takes bytes and looks at none of them; `parse` returns the requests in the next part of
    them, so that each call of it takes a bounded time. `more` is true as long as `parse` can go on.
    """

    def __init__(self, max_request: int = MAX_REQUEST, max_arguments: int = MAX_ARGUMENTS) -> None:
        """Take requests of up to so many bytes and arguments."""
        self.more = False
        self.parsed = 0
        """Bytes in the requests that `parse` returned last."""
        self._limits = max_request, max_arguments
        self.limit(short=False)
        self._data = b""  # not parsed yet, from `_position` on
        self._position = 0
        self._chunks: list[bytes] = []  # what follows it
        self._chunks_size = 0
        self._args: Request = []  # of the request under way
        self._args_size = 0
        self._missing = 0  # arguments still to come
        self._large: io.BytesIO | None = None  # the argument under way, if it is a large one
        self._large_size = 0
        self._large_missing = 0  # bytes of it that are still to come, its line end with them

    def limit(self, *, short: bool) -> None:
        """Take short requests only, or all."""
        most, arguments = self._limits
        self._max_arguments = SHORT_ARGUMENTS if short else MAX_ARGUMENTS
        self._max_bulk = SHORT_BULK if short else MAX_BULK
        self._recognises = not (short or most < _LONGEST_GLANCE or arguments < len(_COUNTS))

    @property
    def pending(self) -> int:
        """Bytes taken in that do not make a request yet."""
        unparsed = len(self._data) - self._position + self._chunks_size
        return unparsed + self._args_size + self._large_size - self._large_missing

    @property
    def memory(self) -> int:
        """Bytes of memory that these take."""
        overhead = len(self._chunks) + len(self._args)
        spare = (self._large_size - self._large_missing) // 8  # which a BytesIO may take
        return self.pending + self._position + spare + ARGUMENT_COST * overhead

    def clear(self) -> None:
        """Drop all that was taken in."""
        self.more = False
        self._data, self._position = b"", 0
        self._chunks.clear()
        self._chunks_size = 0
        self._args = []
        self._args_size = self._missing = 0
        self._large = None
        self._large_size = self._large_missing = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._data:
            self._chunks.append(data)
            self._chunks_size += len(data)
        else:
            self._data = data
        self.more = True

    def take(self, data: bytes) -> list[Request]:
        """`feed` and the first `parse`, at half the cost for what is recognised at a glance."""
        if self._recognises and not (self._data or self._missing) and len(data) <= _WINDOW:
            requests: list[Request] = []
            if _glance(data, requests) == len(data):
                self.parsed = len(data)
                return requests
        self.feed(data)
        return self.parse()

    def parse(self) -> list[Request]:
        """The requests in the next bytes; perhaps none.

        Raises:
            ProtocolError: the next bytes are malformed, and nothing more can be parsed.
        """
        if self._chunks:
            self._data = b"".join([self._data[self._position :], *self._chunks])
            self._position = 0
            self._chunks.clear()
            self._chunks_size = 0
        data, start = self._data, self._position
        requests: list[Request] = []
        position = start
        if self._recognises and not self._missing:
            position += _glance(data[start : start + _WINDOW], requests)
        self.parsed = position - start
        self.more = position < len(data)
        if self.more and not (requests and len(data) - start > _WINDOW):
            position = self._parse_slowly(data, position, requests)
        if position == len(data):
            self._data, self._position = b"", 0
        elif self.more:
            self._position = position
        else:
            self._data, self._position = data[position:], 0
        return requests

    def _parse_slowly(self, data: bytes, position: int, requests: list[Request]) -> int:
        """Read some requests byte for byte; return where the others begin."""
        end, steps = min(len(data), position + _LARGE), _STEPS
        fewest = bool(self._missing)  # what follows may be recognised again
        try:
            while position < end and steps and not (fewest and requests):
                following = self._step(data, position, requests)
                if following is None:
                    if self._args_size + len(data) - position > self._limits[0]:
                        raise RequestTooLargeError(self._limits[0])
                    self.more = False
                    break
                self.parsed += following - position
                position = following
                steps -= 1
        except ProtocolError:
            if not requests:
                raise
            return position  # these come first, and may lift a limit
        self.more = self.more and position < len(data)
        return position

    def _step(self, data: bytes, position: int, requests: list[Request]) -> int | None:
        """Read one header, bulk or line at `position`; None when it is not all there yet."""
        if self._large is not None:
            return self._more_of_large(self._large, data, position, requests)
        if self._missing:
            return self._bulk(data, position, requests)
        if data[position] == 42:  # '*'
            return self._header(data, position)
        return _inline(data, position, requests)

    def _header(self, data: bytes, position: int) -> int | None:
        end = _line_end(data, position, "mbulk count string")
        if end is None:
            return None
        count = _number(data[position + 1 : end])
        if count is None or count > self._limits[1]:
            raise ProtocolError("invalid multibulk length")
        if count > self._max_arguments:
            raise ProtocolError("unauthenticated multibulk length")
        self._missing = max(0, count)
        return end + 2

    def _bulk(self, data: bytes, position: int, requests: list[Request]) -> int | None:
        end = _line_end(data, position, "bulk count string")
        if end is None:
            return None
        if data[position] != 36:  # '$'
            got = data[position : position + 1].decode(errors="surrogateescape")
            raise ProtocolError(f"expected '$', got '{got}'")
        size = _number(data[position + 1 : end])
        if size is None or not 0 <= size <= MAX_BULK:
            raise ProtocolError("invalid bulk length")
        if size > self._max_bulk:
            raise ProtocolError("unauthenticated bulk length")
        if self._args_size + size > self._limits[0]:
            raise RequestTooLargeError(self._limits[0])
        start = end + 2
        if len(data) < start + size + 2:
            if size < _LARGE:
                return None
            self._large, self._large_size, self._large_missing = io.BytesIO(), size + 2, size + 2
            return start
        self._take(data[start : start + size], requests)
        return start + size + 2

    def _more_of_large(
        self, large: io.BytesIO, data: bytes, position: int, requests: list[Request]
    ) -> int:
        taken = large.write(memoryview(data)[position : position + self._large_missing])
        self._large_missing -= taken
        if not self._large_missing:
            large.truncate(self._large_size - 2)
            self._large, self._large_size = None, 0
            self._take(large.getvalue(), requests)  # its own buffer, not a copy
        return position + taken

    def _take(self, arg: bytes, requests: list[Request]) -> None:
        self._args.append(arg)
        self._args_size += len(arg)
        self._missing -= 1
        if not self._missing:
            requests.append(self._args)
            self.parsed += self._args_size
            self._args = []
            self._args_size = 0


def _glance(data: bytes, requests: list[Request]) -> int:
    """Take the requests that are recognised at a glance; return where the others begin.

    A request is recognised when cutting at line ends gives just the pieces that its own headers
    announce, that is when no argument holds a line end: nearly always.
    """
    pieces = data.split(b"\r\n")
    last = len(pieces) - 1
    begin = 0
    try:
        while begin < last:
            count = _COUNTS[pieces[begin]]
            end = begin + 1 + 2 * count
            if end > last:
                break
            args = pieces[begin + 2 : end : 2]
            if pieces[begin + 1 : end : 2] != [_SIZES[len(arg)] for arg in args]:
                break
            requests.append(args)
            begin = end
    except LookupError:
        pass  # an inline command, a large argument, nonsense: read it byte for byte
    if begin == last and not pieces[last]:
        return len(data)
    return sum(map(len, pieces[:begin])) + 2 * begin


def _line_end(data: bytes, position: int, what: str) -> int | None:
    """Where the line at `position` ends (its CR); None when that has not arrived."""
    end = data.find(b"\r", position, position + MAX_LINE + 1)
    if end < 0 and len(data) - position > MAX_LINE:
        raise ProtocolError(f"too big {what}")
    return None if end < 0 or end + 1 >= len(data) else end


# A page in a browser can have an HTTP request, or the first bytes of TLS, sent to any port, with
# lines of its own behind them, which must not become commands. Redis looks for POST and Host: too.
_HTTP_VERSION = re.compile(rb"HTTP/[0-9]+(\.[0-9]+)?\Z", re.IGNORECASE)
_OTHER_START = re.compile(rb"\s*+(host:|\x16\x03)", re.IGNORECASE)


def _inline(data: bytes, position: int, requests: list[Request]) -> int | None:
    end = data.find(b"\n", position, position + MAX_LINE + 1)
    if end < 0:
        if len(data) - position > MAX_LINE:
            raise ProtocolError("too big inline request")
        return None
    line = data[position:end].removesuffix(b"\r")
    if _HTTP_VERSION.search(line.rstrip()[-16:]) or _OTHER_START.match(line):
        raise OtherProtocolError("this is HTTP or TLS, which the port does not speak")
    words = split_words(line)
    if words is None:
        raise ProtocolError("unbalanced quotes in request")
    if words:
        requests.append(words)
    return end + 1


def _number(digits: bytes) -> int | None:
    return int(digits) if _NUMBER.fullmatch(digits) else None


# A word is bare characters, then perhaps one quoted part, which a blank or the end must follow.
_WORD_PATTERN = rb"""
    ([^ \n\r\t"']*+)
    (?: "( (?: \\. | [^"\\] )*+ )"  (?=[ \n\r\t\v\f]|\Z)
      | '( (?: \\' | [^'] )*+ )'    (?=[ \n\r\t\v\f]|\Z)
      | (?=[ \n\r\t]|\Z)
    )
    [ \n\r\t\v\f]*+
    """
_WORD = re.compile(_WORD_PATTERN, re.DOTALL | re.VERBOSE)
_LINE = re.compile(rb"(?:%b)*+" % _WORD_PATTERN, re.DOTALL | re.VERBOSE)
_BLANKS = b" \n\r\t\v\f"
_ODD = re.compile(rb"[\"'\v\f]")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def split_words(line: bytes) -> Request | None:
    r"""The words of an inline command, quotes resolved; None when the quotes do not balance.

    ``"..."`` understands ``\n \r \t \b \a \xHH`` and a backslash before any other
    character, ``'...'`` only ``\'``. Empty words are dropped and a NUL ends the line.
    """
    line = line.partition(b"\0")[0].lstrip(_BLANKS)
    if not _ODD.search(line):
        return line.split()
    if not _LINE.fullmatch(line):
        return None
    if b"\\" not in line:
        return [word for parts in _WORD.findall(line) if (word := b"".join(parts))]
    words = (
        bare + _ESCAPE.sub(_unescape, double) + single.replace(b"\\'", b"'")
        for bare, double, single in _WORD.findall(line)
    )
    return [word for word in words if word]


def _unescape(escape: re.Match[bytes]) -> bytes:
    digits, character = escape.groups()
    if digits:
        return bytes.fromhex(digits.decode())
    return _ESCAPED.get(character, character)


def quote(word: bytes) -> bytes:
    """A word as `split_words` reads it back; MONITOR shows arguments so."""
    if _UNPRINTABLE.search(word):
        word = b"".join([_QUOTED[byte] for byte in word])
    return b'"%b"' % word


_UNPRINTABLE = re.compile(rb"""[^ !#-\[\]-~]""")
_ESCAPES = {value: b"\\" + key for key, value in _ESCAPED.items()} | {b'"': b'\\"', b"\\": b"\\\\"}
_QUOTED = [
    _ESCAPES.get(byte) or (b"\\x%02x" % byte[0] if _UNPRINTABLE.match(byte) else byte)
    for byte in (bytes([number]) for number in range(256))
]


OK = b"+OK\r\n"
NIL = b"$-1\r\n"
NIL_ARRAY = b"*-1\r\n"
_SMALL = [b":%d\r\n" % n for n in range(256)]


def status(text: bytes) -> bytes:
    """A status reply; line ends become blanks, as it has to fit one line."""
    return b"+%b\r\n" % text.translate(_ONE_LINE)


def error(text: str) -> bytes:
    """An error reply from its word and text."""
    return b"-%b\r\n" % text.encode("utf-8", "surrogateescape").translate(_ONE_LINE)


def integer(number: int) -> bytes:
    """An integer reply."""
    return _SMALL[number] if 0 <= number < 256 else b":%d\r\n" % number


def bulk(data: bytes | None) -> bytes:
    """A bulk reply, or the nil bulk for None."""
    return NIL if data is None else b"$%d\r\n%b\r\n" % (len(data), data)


def array(replies: Sequence[bytes]) -> bytes:
    """An array of replies that are encoded already."""
    return b"*%d\r\n%b" % (len(replies), b"".join(replies))


def bulks(items: Iterable[bytes | None]) -> bytes:
    """An array of bulks."""
    return array([bulk(item) for item in items])


def to_resp3(reply: bytes) -> bytes:
    """A RESP2 reply for a client that asked for RESP3, where nil is a type of its own."""
    if b"-1\r\n" not in reply:
        return reply
    parts: list[bytes] = []
    position = 0
    while position < len(reply):
        end = reply.index(b"\r\n", position) + 2
        head = reply[position:end]
        if head in (NIL, NIL_ARRAY):
            parts.append(b"_\r\n")
        elif head[:1] == b"$":
            position, end = end, end + int(head[1:]) + 2
            parts += [head, reply[position:end]]
        else:
            parts.append(head)
        position = end
    return b"".join(parts)
