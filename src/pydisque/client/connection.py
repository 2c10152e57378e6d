"""One connection to a node, and the line of connections to it.

redis-py opens them, as it knows TCP, Unix sockets, TLS and passwords; then its socket is taken
over, and sending and receiving is a matter of four calls. A connection is used by one thread at a
time. Whatever interrupts an exchange closes it, so that a late reply never answers another
command. Nothing here knows which node to use, or what may be sent again.
"""

from __future__ import annotations

import codecs
import contextlib
import inspect
import select
import socket
import ssl
import struct
import weakref
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pydisque.client.nodes import Node
from pydisque.errors import (
    ConnectionLostError,
    DisqueError,
    UnexpectedReplyError,
    error_from_reply,
)
from pydisque.protocol.addresses import Address
from pydisque.protocol.command import Command, without_timeout
from pydisque.protocol.replies import misread, parse_hello
from pydisque.protocol.validation import Argument

# A node looks at its waiting clients ten times a second; under load it may be a second late.
SLACK = 2.0

MAX_IDLE = 64
FRESH = 0.001
_READ_SIZE = 65536
HELLO = b"*1\r\n$5\r\nHELLO\r\n"

# Whoever waits for a job waits long: a peer that vanished without a word must be noticed.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPALIVE", 30),  # the same on macOS
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
    )
    if hasattr(socket, name)
}

# Disque speaks RESP2 alone and takes no client's name or version; retries are the client's.
_FORCED: dict[str, Any] = {
    "protocol": 2,
    "lib_name": None,
    "lib_version": None,
    "driver_info": None,
}
_DROPPED = ("retry", "retry_on_error", "retry_on_timeout")

# Set here because the defaults of redis-py depend on its version: redis-py 5 checks no host name,
# so it would send the password to any server that has a certificate of a trusted authority.
_TLS_DEFAULTS: dict[str, Any] = {
    "ssl_cert_reqs": "required",
    "ssl_check_hostname": True,
    "ssl_min_version": ssl.TLSVersion.TLSv1_2,
}
# As words, which both clients of every redis-py take: the async one of redis-py 5 takes no others.
_CERT_REQS = {
    None: "none",
    ssl.CERT_NONE: "none",
    ssl.CERT_OPTIONAL: "optional",
    ssl.CERT_REQUIRED: "required",
}


def redis_client(address: Address, options: dict[str, Any]) -> redis.Redis:
    """A `redis.Redis` for a node, not yet connected, whose retries are off.

    Args:
        address: Where the node is; its user and password come before those of the options.
        options: Keyword arguments of `redis.Redis`.

    Raises:
        TypeError: `redis.Redis` knows no such option.
    """
    settings = redis_settings(redis.Redis, address, options)
    return redis.Redis(**settings, retry=Retry(NoBackoff(), 0))


def redis_settings(cls: type[Any], address: Address, options: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments, but for ``retry``, that make redis-py open what Disque takes."""
    known = inspect.signature(cls.__init__).parameters
    forced = {name: value for name, value in _FORCED.items() if name in known}
    if "driver_info" in forced:  # it replaces these two, which are deprecated since
        del forced["lib_name"], forced["lib_version"]
    wanted = {name: value for name, value in options.items() if name not in _DROPPED}
    where: dict[str, Any] = {"host": address.host, "port": address.port}
    if address.path is not None:
        where["unix_socket_path"] = address.path
    if address.tls:
        where["ssl"] = True
    if address.password is not None:
        where |= {"username": address.username, "password": address.password}
    keepalive = {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    return {**keepalive, **_tls_settings(wanted, known), **forced, **where}


def _tls_settings(options: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The options, with a value for each that decides whether a certificate is checked."""
    settings = {name: value for name, value in _TLS_DEFAULTS.items() if name in known} | options
    reqs = settings["ssl_cert_reqs"] = _CERT_REQS.get(
        settings["ssl_cert_reqs"], settings["ssl_cert_reqs"]
    )
    if reqs == "none":  # ssl refuses to check the name of a certificate that it does not check
        settings["ssl_check_hostname"] = False
    return settings


def packer(options: dict[str, Any]) -> Callable[[tuple[Argument, ...]], bytes]:
    """What turns a command's arguments into the bytes of a request."""
    encoding, errors = options.get("encoding", "utf-8"), options.get("encoding_errors", "strict")
    pack: Any = hiredis.pack_command  # annotated as if it took one argument
    if codecs.lookup(encoding).name == "utf-8" and errors == "strict":
        return pack  # type: ignore[no-any-return]

    def pack_encoded(args: tuple[Argument, ...]) -> bytes:
        encoded = (arg.encode(encoding, errors) if isinstance(arg, str) else arg for arg in args)
        return pack(tuple(encoded))  # type: ignore[no-any-return]

    return pack_encoded


def patience(timeout: float | None, wait: float | None) -> float | None:
    """Seconds to wait for each piece of an answer the node may put off for so long.

    None is for ever. A command that waits for nothing has the connection's own timeout.
    """
    if timeout is None or wait is None:
        return None
    return max(timeout, min(wait, _LONGEST) + SLACK) if wait else timeout


_LONGEST = 365 * 86400.0  # beyond some years sockets and loops overflow

# What a node says before it closes a connection, be it to a command or to none.
_FULL = "max number of clients reached"


def greeting(reply: Any) -> list[Any]:
    """What a node says of itself, from its reply to HELLO.

    Raises:
        DisqueError: The node does not let us in.
        ConnectionLostError: This is no node, or it takes no more clients.
    """
    if isinstance(reply, DisqueError) and str(reply) == _FULL:
        raise ConnectionLostError(_FULL, sent=False)
    if isinstance(reply, DisqueError) and not isinstance(reply, UnexpectedReplyError):
        raise reply
    try:
        return parse_hello(reply)
    except Exception:  # noqa: BLE001 - see Command.misread
        error = misread("HELLO", reply)
        raise ConnectionLostError(f"not a Disque node: {error}", sent=False) from None


# What hiredis raises for well-formed replies that it cannot make objects of.
UNREADABLE = (UnicodeError, TypeError, MemoryError)


def unreadable(error: Exception) -> UnexpectedReplyError:
    """What takes the place of a reply that hiredis could not make objects of."""
    if isinstance(error, UnicodeDecodeError):
        text = f"text that is not {error.encoding}; without decode_responses it is bytes"
    else:
        text = "too large" if isinstance(error, MemoryError) else "map whose keys are no texts"
    return UnexpectedReplyError(f"unexpected reply: {text}")


def reply_reader(link: Any) -> hiredis.Reader:
    """What reads replies as a connection of redis-py would, errors as ours."""
    options = {"encoding": link.encoder.encoding} if link.encoder.decode_responses else {}
    errors = link.encoder.encoding_errors
    return hiredis.Reader(replyError=error_from_reply, errors=errors, **options)


def input_poll(sock: Any) -> Callable[[float | None], Any]:
    """A function that waits some milliseconds (None: no limit) for input; true if there is any.

    eventlet's monkey patching removes `select.poll`, and makes `select.select` cooperative.
    """
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return poll.poll
    return lambda ms: select.select([sock], [], [], None if ms is None else ms / 1000)[0]


class Connection:
    """An open connection, for one exchange at a time."""

    __slots__ = (
        "__weakref__", "_feed", "_gets", "_has_data", "_peek", "_poll", "_recv", "_sendall",
        "_set_timeout", "_sock", "abandoned", "closed", "due", "ends", "timeout", "used", "wants",
    )  # fmt: skip

    careful = False
    """Whether callers are interrupted in this program; then waits cost a system call more."""

    def __init__(self, sock: socket.socket, reader: hiredis.Reader) -> None:
        """Take over an open socket, whose timeout bounds each wait from now on."""
        self._sock = sock
        self._sendall = sock.sendall
        self._recv = sock.recv
        self._peek = _peek(sock)
        self._feed = reader.feed
        self._gets = reader.gets
        self._has_data = reader.has_data
        self.timeout = sock.gettimeout()
        self._set_timeout = _timeout_setter(sock)
        self.used = 0.0
        self.abandoned = False
        self.closed = False
        self.due = 0
        """How many replies are still to come to commands whose caller was interrupted."""
        self.wants: Sequence[Command[Any]] = ()
        """These commands."""
        self.ends = 0.0
        """When the node has to have answered them."""
        self._poll = input_poll(sock)

    def is_stale(self) -> bool:
        """Whether the node closed it meanwhile, or sent what nobody asked for."""
        return bool(self._poll(0))

    def has_input(self) -> bool:
        """Whether something of a reply can be read."""
        pending = getattr(self._sock, "pending", None)  # of TLS, which may have read it already
        return bool((pending is not None and pending()) or self._poll(0))

    def exchange(  # noqa: C901 - one function, as each call more is felt
        self,
        request: bytes,
        replies: list[Any],
        count: int,
        wait: float | None,
        takes: bool = False,
    ) -> None:
        """Send commands and append their replies to a list, error replies included.

        Args:
            request: The bytes of the commands; none when they were sent already.
            replies: Takes the replies; those that came before a loss stay in it.
            count: How many commands these are.
            wait: Seconds the node itself may take before it answers, see `patience`.
            takes: Whether a reply may hand out jobs. What interrupts such an exchange while
                replies are to come leaves the connection open, and `due` says how many they are.

        Raises:
            ConnectionLostError: The connection is closed. A single command that was not sent whole
                has ``sent`` false: no node carries out a part.
        """
        sent = False
        try:
            if request:
                self._sendall(request)
            sent = True
            for _ in range(count):
                while (reply := self._gets()) is False:
                    try:
                        if takes and self.careful:
                            self._peek()
                        piece = self._recv(_READ_SIZE)
                    except (BlockingIOError, TimeoutError) as error:
                        piece = self._wait_on(wait, error)
                    self._feed(piece or _hung_up())
                replies.append(reply)
            if self._has_data():  # nobody asked for it, so it must not answer the next command
                self.close()
        except (OSError, hiredis.HiredisError) as error:
            self.close()
            sent = sent or count > 1
            raise ConnectionLostError(reason(error, self.patience(wait)), sent=sent) from error
        except UNREADABLE as error:
            self.close()
            replies.append(unreadable(error))
            if len(replies) < count:
                raise ConnectionLostError("unreadable reply", sent=True) from None
        except BaseException:
            if takes and sent:
                self.due = count - len(replies)
                Connection.careful = True
            else:
                self.close()
            raise

    def patience(self, wait: float | None) -> float | None:
        """Seconds to wait for each piece of an answer the node may put off for so long."""
        return patience(self.timeout, wait)

    def _wait_on(self, wait: float | None, error: OSError) -> bytes:
        """Go on waiting when the connection's own timeout has passed, if this may take longer.

        So a command that may wait costs no more than another as long as its answer comes soon.
        """
        whole, passed = self.patience(wait), self.timeout or 0.0
        if _is_loss(error) or (whole is not None and whole <= passed):
            raise error
        self._set_timeout(None if whole is None else whole - passed)
        self._peek()
        piece = self._recv(_READ_SIZE)
        self._set_timeout(self.timeout)
        return piece

    def limit(self, seconds: float) -> None:
        """Wait no longer than this for anything from now on."""
        self.timeout = seconds if self.timeout is None else min(self.timeout, seconds)
        self._set_timeout(self.timeout)

    def half_close(self) -> None:
        """End our side alone: the node forgets who waits here, and what it sent can be read."""
        self.abandoned = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def abandon(self) -> None:
        """Close it while another thread may be waiting on it; that thread is woken by the loss."""
        self.abandoned = True
        with contextlib.suppress(OSError):  # the node may be gone already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this process's end; a parent that shares the socket does not notice."""
        self.closed = True
        self._sock.close()

    def __del__(self) -> None:
        self._sock.close()


def _peek(sock: Any) -> Callable[[], Any]:
    """What waits for input and leaves it unread, so that a signal that comes with it loses none.

    An exception that a signal's handler raises takes what the call returned with it.
    """
    if hasattr(sock, "pending"):  # TLS cannot, and may have read it already
        return lambda: None
    return partial(sock.recv, 1, socket.MSG_PEEK)


def _timeout_setter(sock: socket.socket) -> Callable[[float | None], None]:
    """What bounds the waits on a socket: the kernel, where that will do.

    Python's own timeout costs two more system calls with each exchange. TLS needs it, and so do
    the sockets that gevent and its like put in the place of Python's.
    """
    if type(sock).__module__ != "socket":
        return sock.settimeout

    def set_timeout(seconds: float | None) -> None:
        microseconds = 0 if seconds is None else max(1, int(seconds * 1_000_000))
        bound = struct.pack("@ll", *divmod(microseconds, 1_000_000))  # a struct timeval; 0: none
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)

    set_timeout(sock.gettimeout())
    sock.settimeout(None)
    return set_timeout


def _hung_up() -> bytes:
    raise ConnectionResetError("the node hung up")


def _is_loss(error: OSError) -> bool:
    """Tell a peer that keepalive found dead from a wait that was in vain."""
    return isinstance(error, TimeoutError) and error.errno is not None


def reason(error: Exception, timeout: float | None) -> str:
    if isinstance(error, (BlockingIOError, TimeoutError)) and not _is_loss(error):
        return "no answer" if timeout is None else f"no answer within {timeout:g} s"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"not a Disque node: {error}"


class Line:
    """All connections of one client to one node; the idle ones are a stack."""

    def __init__(self, node: Node, client: redis.Redis) -> None:
        """Make the line from a `redis.Redis`, which says how to open a connection."""
        self.node = node
        self.redis = client
        self.was_open = False
        self.orphans: list[Connection] = []
        """Those on which replies are due whose callers were interrupted."""
        self._idle: list[Connection] = []
        self._all: set[weakref.ref[Connection]] = set()

    def adopt(self, command: Command[Any], now: float) -> Connection | None:
        """A connection on which the node was sent this very GETJOB, by an interrupted caller.

        Its wait ends within that of the command. So callers that are interrupted again and again
        leave one wait at the node, and not one each.
        """
        wanted = without_timeout(command.args)
        for connection in self.orphans:
            same = [without_timeout(each.args) for each in connection.wants] == [wanted]
            fits = command.wait is None or connection.ends <= now + command.wait
            if same and fits and self.claim(connection):
                return connection
        return None

    def claim(self, connection: Connection) -> bool:
        """Take an orphan out; false if another thread was faster."""
        try:
            self.orphans.remove(connection)
        except ValueError:
            return False
        return True

    def idle(self, now: float) -> Connection | None:
        """An idle connection that is still good; None when a new one must be opened.

        One that was used within the last millisecond is not looked at again.
        """
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if now - connection.used < FRESH or not connection.is_stale():
                connection.used = now
                return connection
            connection.close()

    def open(self) -> tuple[Connection, list[Any]]:
        """A new connection, and what the node says of itself.

        Raises:
            redis.exceptions.ConnectionError, redis.exceptions.TimeoutError: There is no node.
            DisqueError: The node does not let us in.
        """
        connection = self._connect()
        hello: list[Any] = []
        connection.exchange(HELLO, hello, 1, 0.0)
        try:
            greeting(hello[0])
        except RedisError:
            connection.close()
            raise
        self._all.difference_update([ref for ref in list(self._all) if ref() is None])
        self._all.add(weakref.ref(connection))
        self.was_open = True
        return connection, hello[0]

    def _connect(self) -> Connection:
        pool = self.redis.connection_pool
        link = pool.connection_class(**pool.connection_kwargs)
        try:
            link.connect()
        except (OSError, UnicodeError) as error:  # a name that is no name is a UnicodeError
            raise ConnectionLostError(reason(error, None), sent=False) from error
        return _take_over(link)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next command, unless it broke or there are enough."""
        if connection.due:
            return  # it is an orphan
        if connection.abandoned or connection.closed or len(self._idle) >= MAX_IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    def close_idle(self) -> None:
        """Close the connections nobody uses: one to this node just broke."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def close(self) -> None:
        """Close all connections; who waits for an answer gets a `ConnectionLostError`."""
        for connection in self._alive():
            connection.abandon()
        self.close_idle()
        self.redis.close()

    def forget(self) -> None:
        """Drop the parent process's connections, after a fork."""
        for connection in self._alive():
            connection.close()
        self._idle, self.orphans = [], []
        self._all = set()

    def _alive(self) -> list[Connection]:
        return [connection for ref in list(self._all) if (connection := ref()) is not None]


def _take_over(link: Any) -> Connection:
    """The connection redis-py opened, without redis-py, which would close its socket."""
    sock, link._sock = link._sock, None  # noqa: SLF001
    return Connection(sock, reply_reader(link))
