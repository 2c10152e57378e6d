"""RESP without I/O: bytes in, requests out; values in, reply bytes out.

Decides what is a well-formed request, and where a malformed one ends the conversation. Knows
nothing of commands, connections or time. Requests are arrays of bulks or inline text lines
(RESP2); the rules, their limits and their error texts are Disque's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_ARGUMENTS = 1024 * 1024
MAX_BULK = 512 * 1024 * 1024
MAX_LINE = 64 * 1024
SHORT_ARGUMENTS = 10
SHORT_BULK = 16 * 1024
SHORT_REQUESTS = 1024 * 1024
"""What a client may send before the node knows who it is: enough to log in."""
MAX_REQUEST = 1024 * 1024 * 1024
"""Bytes one request may hold, if nothing else is said; a client that sends more is cut off."""

Request = list[bytes]

# What the usual requests are made of: spelt out once, so that most are recognised, not parsed.
_COUNTS = {b"*%d" % n: n for n in range(1, 1025)}
_SIZES = [b"$%d" % n for n in range(4097)]
_LONGEST_GLANCE = 1024 * 1024
_NUMBER = re.compile(rb"0|-?[1-9][0-9]{0,18}")


class ProtocolError(Exception):
    """The client does not speak RESP: the text goes to it as an error, then it is cut off."""


class RequestTooLargeError(ProtocolError):
    """One request holds more than it may."""

    def __init__(self, limit: int) -> None:
        """Say how much it may hold."""
        super().__init__(f"too big request, it may hold {limit} bytes")


class TooLongError(ProtocolError):
    """This is more than a client may send before the node knows who it is."""


class RequestParser:
    """Cuts a stream of bytes, however split, into requests.

    `feed` returns the requests that are complete. When the stream is malformed it returns those
    before the fault and sets `error`; everything after that is ignored.

    After ``limit(short=True)`` requests must be short. One that is not is left lying when others
    came before it, as these may lift that: then `halted` is true, and ``feed(b"")`` goes on.
    """

    def __init__(self, max_request: int = MAX_REQUEST, max_arguments: int = MAX_ARGUMENTS) -> None:
        """Take requests of up to so many bytes and arguments."""
        self.error: ProtocolError | None = None
        self.halted = False
        self._limits = max_request, max_arguments
        self.limit(short=False)
        self._chunks: list[bytes] = []  # not parsed yet
        self._held = 0  # bytes in _chunks
        self._wanted = 0  # bytes needed before parsing can go on
        self._args: Request = []  # of the request under way
        self._args_size = 0
        self._missing = 0  # arguments still to come

    def limit(self, *, short: bool) -> None:
        """Take short requests only, or all."""
        most, arguments = self._limits
        self._max_arguments = SHORT_ARGUMENTS if short else MAX_ARGUMENTS
        self._max_bulk = SHORT_BULK if short else MAX_BULK
        self.max_request = SHORT_REQUESTS if short else most
        strict = short or most < _LONGEST_GLANCE or arguments < len(_COUNTS)
        self._max_glance = 0 if strict else _LONGEST_GLANCE

    @property
    def pending(self) -> int:
        """Bytes taken in that do not make a request yet."""
        return self._held + self._args_size

    def feed(self, data: bytes) -> list[Request]:
        """Take the next bytes of the stream and return the requests they complete."""
        if self.error:
            return []
        if self._chunks:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                if self.pending > self._limits[0]:
                    self.error = RequestTooLargeError(self._limits[0])
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._held = 0
        requests: list[Request] = []
        position = 0
        if not self._missing and len(data) <= self._max_glance:
            position = _glance(data, requests)
        if position < len(data):
            self._parse(data, position, requests)
        return requests

    def _parse(self, data: bytes, position: int, requests: list[Request]) -> None:
        """Read requests byte for byte; keep what is not complete."""
        self._wanted = 0
        self.halted = False
        try:
            while position < len(data):
                following = self._step(data, position, requests)
                if following is None:
                    break
                position = following
            if self.pending + len(data) - position > self._limits[0]:
                raise RequestTooLargeError(self._limits[0])
        except TooLongError as error:
            self.halted = bool(requests)
            if not self.halted:
                self.error = error.with_traceback(None)
                return
        except ProtocolError as error:
            self.error = error.with_traceback(None)  # which would keep this parser, and its bytes
            return
        if position < len(data):
            self._chunks.append(data[position:])
            self._held = len(data) - position
            self._wanted = max(0, self._wanted - position)

    def _step(self, data: bytes, position: int, requests: list[Request]) -> int | None:
        """Read one header, bulk or line at `position`; None when it is not all there yet."""
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
            raise TooLongError("unauthenticated multibulk length")
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
            raise TooLongError("unauthenticated bulk length")
        if self._args_size + size > self._limits[0]:
            raise RequestTooLargeError(self._limits[0])
        start = end + 2
        if len(data) < start + size + 2:
            self._wanted = start + size + 2
            return None
        self._args.append(data[start : start + size])
        self._args_size += size
        self._missing -= 1
        if not self._missing:
            requests.append(self._args)
            self._args = []
            self._args_size = 0
        return start + size + 2


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
    end = data.find(b"\r", position)
    if (end if end >= 0 else len(data)) - position > MAX_LINE:
        raise ProtocolError(f"too big {what}")
    return None if end < 0 or end + 1 >= len(data) else end


def _inline(data: bytes, position: int, requests: list[Request]) -> int | None:
    end = data.find(b"\n", position)
    if (end if end >= 0 else len(data)) - position > MAX_LINE:
        raise ProtocolError("too big inline request")
    if end < 0:
        return None
    line = data[position:end].removesuffix(b"\r")
    words = split_words(line)
    if words is None:
        raise ProtocolError("unbalanced quotes in request")
    if words:
        requests.append(words)
    return end + 1


def _number(digits: bytes) -> int | None:
    return int(digits) if _NUMBER.fullmatch(digits) else None


# A word is bare characters, then perhaps one quoted part, which a blank or the end must follow.
_WORD = re.compile(
    rb"""
    ([^ \n\r\t"']*+)
    (?: "( (?: \\. | [^"\\] )*+ )"  (?=[ \n\r\t\v\f]|\Z)
      | '( (?: \\' | [^'] )*+ )'    (?=[ \n\r\t\v\f]|\Z)
      | (?=[ \n\r\t]|\Z)
    )
    """,
    re.DOTALL | re.VERBOSE,
)
_BLANKS = re.compile(rb"[ \n\r\t\v\f]*")
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def split_words(line: bytes) -> Request | None:
    r"""The words of an inline command, quotes resolved; None when the quotes do not balance.

    ``"..."`` understands ``\n \r \t \b \a \xHH`` and a backslash before any other
    character, ``'...'`` only ``\'``. Empty words are dropped and a NUL ends the line.
    """
    line = line.partition(b"\0")[0]
    words: Request = []
    position = _blanks_end(line, 0)
    while position < len(line):
        word = _WORD.match(line, position)
        if word is None:
            return None
        bare, double, single = word.groups(b"")
        text = bare + _ESCAPE.sub(_unescape, double) + single.replace(b"\\'", b"'")
        if text:
            words.append(text)
        position = _blanks_end(line, word.end())
    return words


def _blanks_end(line: bytes, position: int) -> int:
    blanks = _BLANKS.match(line, position)
    return blanks.end() if blanks else position


def _unescape(escape: re.Match[bytes]) -> bytes:
    digits, character = escape.groups()
    if digits:
        return bytes.fromhex(digits.decode())
    return _ESCAPED.get(character, character)


def quote(word: bytes) -> bytes:
    """A word as `split_words` reads it back; MONITOR shows arguments so."""
    return b'"' + _UNPRINTABLE.sub(_escape, word) + b'"'


_UNPRINTABLE = re.compile(rb"""[^ !#-\[\]-~]""")
_ESCAPES = {value: b"\\" + key for key, value in _ESCAPED.items()} | {b'"': b'\\"', b"\\": b"\\\\"}


def _escape(character: re.Match[bytes]) -> bytes:
    byte = character[0]
    return _ESCAPES.get(byte) or b"\\x%02x" % byte[0]


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
