"""The parameters of a node: names, defaults, what may be set to what, and CONFIG's view of them.

One table: Disque's parameters in the order CONFIG GET shows them, then those of our own. Knows
nothing of what a parameter does, nor where its value came from: whoever acts on one reads it here.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydisque.errors import DisqueError
from pydisque.service.paths import PATH, is_address

_SIZE = re.compile(r"([0-9]+)(b|k|kb|m|mb|g|gb)?", re.IGNORECASE)
_UNITS = {
    "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3
}  # fmt: skip
_INTEGER = re.compile(r"([+-]?[0-9]+)?")  # nothing is 0
_LARGEST = 2**63 - 1
_NAME = re.compile(r"([A-Za-z0-9_-]{1,63}\.)*(?=[^.]*[A-Za-z_-])[A-Za-z0-9_-]{1,63}\.?")
_MODE = re.compile(r"0*[0-7]{1,3}")

DURABILITIES = ("always", "everysec", "none")
"""When a change is on the disk itself: before it is answered, within a second, when the system
likes. In the journal's file, and so safe from a crash of the node, it always is before that."""

LOG_LEVELS = {
    "debug": logging.DEBUG,
    "verbose": logging.DEBUG,
    "notice": logging.INFO,
    "warning": logging.WARNING,
}
"""Disque's words for how much to log."""

Read = Callable[[str], str]
"""Takes what was typed, gives what is stored; raises `ValueError` that says what is allowed."""


def _text(typed: str) -> str:
    return typed


def _number(low: int, high: int = _LARGEST, *, clamp: bool = False) -> Read:
    upper = "on" if high == _LARGEST else f"to {high}"

    def read(typed: str) -> str:
        number = int(typed or "0") if _INTEGER.fullmatch(typed) else -_LARGEST
        if clamp and 0 <= number <= _LARGEST:
            number = max(low, min(high, number))
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} {upper}")
        return str(number)

    return read


def _size(typed: str) -> str:
    match = _SIZE.fullmatch(typed or "0")
    size = min(_LARGEST, int(match[1])) * _UNITS[(match[2] or "b").lower()] if match else -1
    if not 0 <= size <= _LARGEST:
        raise ValueError("a size in bytes, or with a unit as in 512mb or 2gb")
    return str(size)


def _one_of(*words: str) -> Read:
    def read(typed: str) -> str:
        if typed.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return typed.lower()

    return read


def _mode(typed: str) -> str:
    if not _MODE.fullmatch(typed):
        raise ValueError("an octal mode as in 660, or 0 to leave it to the umask")
    return typed.lstrip("0") or "0"


def _words(typed: str) -> str:
    return ",".join(typed.lower().replace(",", " ").split())


def _path(typed: str) -> str:
    if is_address(typed):
        raise ValueError(PATH)
    return typed


def _hosts(typed: str) -> str:
    hosts = [host.strip().removeprefix("[").removesuffix("]") for host in typed.split(",")]
    if not all(hosts):  # an empty one would be every address of the machine
        raise ValueError("one address, or several with commas between them")
    return ",".join(hosts)


def _announced(typed: str) -> str:
    """What HELLO and CLUSTER NODES say to every client: nothing that is no address."""
    host, _, port = typed.rpartition(":")
    is_port = re.fullmatch("[0-9]{1,5}", port) is not None and 0 < int(port) < 65536
    if typed and not (is_port and _is_host(host.removeprefix("[").removesuffix("]"))):
        raise ValueError("a host and a port, as in 10.0.0.5:7711, node1:7711 or [fd00::5]:7711")
    return typed


def _is_host(text: str) -> bool:
    """Whether clients can connect to this: an address of one machine, or a name."""
    try:
        return not ipaddress.ip_address(text).is_unspecified and "%" not in text
    except ValueError:
        return _NAME.fullmatch(text) is not None and len(text) < 254


def _directory(typed: str) -> str:
    try:
        os.scandir(typed).close()
    except OSError as error:
        raise DisqueError(f"Changing directory: {error.strerror}") from None
    return str(os.path.abspath(typed))  # noqa: PTH100 - a name, not something to open


def _buffer_limit(typed: str) -> str:
    words = typed.split(" ")
    if len(words) % 4 or any(word != "normal" for word in words[::4]):
        raise ValueError("normal and three numbers")
    hard, soft, seconds = words[-3:]
    return f"normal {_size(hard)} {_size(soft)} {_number(0)(seconds)}"


def _watchdog_period(typed: str) -> str:
    """Disque's least is 200, if it is not 0."""
    period = int(_number(0)(typed))
    return str(max(200, period) if period else 0)


def _listen(typed: str) -> str:
    from pydisque.service.http_server import parse_listen  # noqa: PLC0415 - most nodes need no HTTP

    if typed:
        parse_listen(typed)
    return typed


_flag = _one_of("yes", "no")


@dataclass(frozen=True)
class Parameter:
    """One parameter."""

    default: str
    read: Read | None = None
    """None for those that cannot be set at all."""
    help: str = ""
    """What it does, for those that can be given when a node starts."""
    fixed: bool = False
    """It cannot change while the node runs."""
    own: bool = False
    """Disque has none of this name: CONFIG GET shows it when asked for just this one."""
    inert: bool = False
    """Kept for clients that ask; changes nothing."""
    secret: bool = False
    """No message may show its value."""

    @property
    def settable(self) -> bool:
        """Whether CONFIG SET takes it."""
        return self.read is not None and not self.fixed

    @property
    def switch(self) -> bool:
        """Whether it is a matter of yes and no."""
        return self.read is _flag

    def typed(self, value: object) -> str:
        """A value of Python or TOML as one would type it.

        Raises:
            ValueError: a number where there must be text. A password or an octal mode written as
                a number would not be what it seems.
        """
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        if isinstance(value, bool) and self.switch:
            return "yes" if value else "no"
        if isinstance(value, (list, tuple)) and self.read in (_hosts, _words):
            if all(isinstance(word, str) for word in value):
                return ",".join(value)
            raise ValueError("a list of texts")
        if self.read in (_text, _path, _mode, _hosts, _words, _listen):
            raise ValueError("text in quotes")
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return repr(value)  # which `read` refuses, saying what is allowed


PARAMETERS = {
    "requirepass": Parameter(
        "", _text, "Password of the user 'default', who may do everything.", secret=True
    ),
    "unixsocket": Parameter("", _path, "Path of a Unix socket to listen on as well.", fixed=True),
    "logfile": Parameter(""),
    "pidfile": Parameter(""),
    "maxmemory": Parameter(
        "1073741824", _size, "What jobs and queues may take, in bytes or as in 512mb."
    ),
    "maxmemory-samples": Parameter("5", _number(1), inert=True),
    "timeout": Parameter(
        "0", _number(0), "Seconds after which an idle client is hung up on; 0 for never."
    ),
    "auto-aof-rewrite-percentage": Parameter("100", _number(0), inert=True),
    "auto-aof-rewrite-min-size": Parameter("67108864", _number(0), inert=True),
    "slowlog-log-slower-than": Parameter(
        "10000", _number(0), "Microseconds from which on a command goes into SLOWLOG."
    ),
    "latency-monitor-threshold": Parameter(
        "0", _number(0), "Milliseconds from which on a command goes into LATENCY; 0 for never."
    ),
    "slowlog-max-len": Parameter("128", _number(0), "How many commands SLOWLOG keeps."),
    "port": Parameter(
        "7711", _number(-1, 65535), "TCP port; 0 takes a free one, -1 none.", fixed=True
    ),
    "tcp-backlog": Parameter("511"),
    "databases": Parameter("16", inert=True),
    "maxclients": Parameter("10000", _number(1), "How many clients may be connected at once."),
    "watchdog-period": Parameter("0", _watchdog_period, inert=True),
    "hz": Parameter("10", _number(1, 500, clamp=True), inert=True),
    "cluster-node-timeout": Parameter("15000", _number(0), inert=True),
    "tcp-keepalive": Parameter("no", _flag, "Whether to probe connections that are silent."),
    "no-appendfsync-on-rewrite": Parameter("no", inert=True),
    "daemonize": Parameter("no"),
    "activerehashing": Parameter("yes", _flag, inert=True),
    "aof-rewrite-incremental-fsync": Parameter("yes", _flag, inert=True),
    "aof-load-truncated": Parameter("yes", _flag, inert=True),
    "aof-enqueue-jobs-once": Parameter("no", _flag, inert=True),
    "maxmemory-policy": Parameter(
        "acks", _one_of("acks", "noeviction"),
        "Whether to give up spent at-most-once jobs when memory is short (acks) or nothing.",
    ),
    "loglevel": Parameter(
        "notice", _one_of(*LOG_LEVELS), "How much to log: debug, verbose, notice or warning."
    ),
    "appendfsync": Parameter("everysec", _one_of("always", "everysec", "no"), inert=True),
    "syslog-facility": Parameter("local0", inert=True),
    "appendonly": Parameter("no", _one_of("no")),  # a node in memory must not promise a file
    "dir": Parameter("", _directory, inert=True),
    "client-output-buffer-limit": Parameter("normal 0 0 0", _buffer_limit, inert=True),
    "unixsocketperm": Parameter(
        "0", _mode, "Octal mode of the Unix socket, as in 660; 0 leaves it to the umask.",
        fixed=True,
    ),
    "bind": Parameter(
        "127.0.0.1", _hosts, "Addresses to listen on, commas between them.", fixed=True
    ),
    # From here on our own.
    "data": Parameter(
        "", _path,
        "Directory in which jobs are kept; :memory: for nowhere. Without it the node picks one.",
        fixed=True, own=True,
    ),
    "store": Parameter(
        "", _text,
        "Valkey in which jobs are kept instead, as in valkey://host:6379; `valkey` starts one.",
        fixed=True, own=True, secret=True,
    ),
    "replicate": Parameter(
        "1", _number(0, 32),
        "Minimum number of Valkey's servers that have a change before it is confirmed, besides all "
        "replicas that may be promoted; 0: do not wait for replicas.",
        fixed=True, own=True,
    ),
    "store-timeout": Parameter(
        "3", _number(1), "Seconds after which a Valkey that does not answer is given up.",
        fixed=True, own=True,
    ),
    "announce": Parameter(
        "", _announced, "HOST:PORT by which clients reach this node, if it cannot tell by itself.",
        fixed=True, own=True,
    ),
    "durability": Parameter(
        "always", _one_of(*DURABILITIES),
        "When a change is on the disk: before it is answered (always), within a second (everysec) "
        "or when the system likes (none).",
        own=True,
    ),
    "max-request": Parameter(
        "1073741824", _size, "What one request may hold, in bytes or as in 512mb.", own=True
    ),
    "max-arguments": Parameter(
        "1048576", _number(1, 1048576), "How many arguments one request may have.", own=True
    ),
    "reply-jobs": Parameter(
        "10000", _number(1), "How many jobs one GETJOB or QPEEK gives at most.", own=True
    ),
    "reply-size": Parameter(
        "16777216", _size, "Bytes of bodies after which such a reply ends, as in 16mb.", own=True
    ),
    "output-timeout": Parameter(
        "60", _number(0),
        "Seconds after which a client is hung up on that does not read its replies; 0 for never.",
        own=True,
    ),
    "client-memory": Parameter(
        "1073741824", _size,
        "What unread replies and unfinished requests may take in all; beyond, the client with the "
        "most is hung up on.",
        own=True,
    ),
    "protected-mode": Parameter(
        "yes", _flag, "Refuse to listen beyond loopback when anybody could do anything.",
        fixed=True, own=True,
    ),
    "requirepass-file": Parameter(
        "", _text, "File that holds the password, in the place of requirepass.",
        fixed=True, own=True,
    ),
    "users": Parameter(
        "", _text, "TOML file of further users; then everybody has to log in.",
        fixed=True, own=True,
    ),
    "auth-timeout": Parameter(
        "60", _number(0), "Seconds a client may take to log in; 0 for any.", own=True
    ),
    "admin-commands": Parameter(
        "", _words, "Further commands for admins alone, commas between them.",
        fixed=True, own=True,
    ),
    "disable-commands": Parameter(
        "", _words, "Commands that shall not exist, commas between them.", fixed=True, own=True
    ),
    "tls-cert": Parameter(
        "", _text, "PEM file of the certificate; with it the TCP port speaks TLS only.",
        fixed=True, own=True,
    ),
    "tls-key": Parameter("", _text, "PEM file of its private key.", fixed=True, own=True),
    "tls-ca": Parameter(
        "", _text, "PEM file of the authority whose certificates clients must show.",
        fixed=True, own=True,
    ),
    "http": Parameter(
        "", _listen, "HOST:PORT where /health, /live and /metrics are served over HTTP.",
        fixed=True, own=True,
    ),
    "metrics-queues": Parameter(
        "100", _number(0, 10000), "How many queues /metrics tells of one by one, the busiest.",
        fixed=True, own=True,
    ),
    "log-json": Parameter(
        "no", _flag, "Whether to log one JSON object a line.", fixed=True, own=True
    ),
}  # fmt: skip


class SettingError(ValueError):
    """A value that a node cannot start with; never shows a secret."""

    def __init__(self, name: str, problem: str, source: str = "") -> None:
        """Make it from the setting's name, what is wrong, and where the value came from."""
        super().__init__(f"{name}{source and f' ({source})'}: {problem}")
        self.name = name
        self.problem = problem
        self.source = source

    def at(self, source: str) -> SettingError:
        """The same error of a value that came from here, unless it is known already."""
        return SettingError(self.name, self.problem, self.source or source)


class Config:
    """The values of one node, as text."""

    def __init__(self, **given: str) -> None:
        """Start from the defaults and what is given, underscores for dashes in the names."""
        self._fixed: set[str] = set()
        self._values = {name: parameter.default for name, parameter in PARAMETERS.items()}
        self._values["dir"] = os.getcwd()  # noqa: PTH109 - its name is what is shown
        self._values.update({name.replace("_", "-"): value for name, value in given.items()})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def fix(self, name: str, value: str) -> None:
        """Note what a parameter turned out to be; it can change no more."""
        self._values[name] = value
        self._fixed.add(name)

    def number(self, name: str) -> int:
        """A value that is a whole number."""
        return int(self._values[name])

    def matching(self, pattern: str) -> list[tuple[str, str]]:
        """Names and values that a glob-style pattern fits, in CONFIG GET's order."""
        if pattern in PARAMETERS:
            return [(pattern, self._values[pattern])]
        fits = glob(pattern)
        return [
            (name, value)
            for name, value in self._values.items()
            if fits(name) and not PARAMETERS[name].own
        ]

    def set(self, name: str, value: str) -> str:
        """Change a parameter of a running node; returns its name as it is stored.

        Raises:
            DisqueError: there is no such parameter, it cannot change, or not to this.
        """
        parameter = PARAMETERS.get(name.lower())
        fixed = name.lower() in self._fixed
        if parameter is None or parameter.read is None or parameter.fixed or fixed:
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
