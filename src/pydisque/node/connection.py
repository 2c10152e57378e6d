"""One client's connection: bytes become commands, commands run, replies go out in one write.

A batch is what one read brought. Its commands run one after the other; when one has to wait, the
rest waits behind it. What a command does is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from time import perf_counter
from typing import cast

from pydisque.errors import DisqueError, MisconfError
from pydisque.node import resp
from pydisque.node.backlog import NOTED_FROM
from pydisque.node.later import INTERNAL_ERROR, Reply
from pydisque.node.node import Command, Node, Session
from pydisque.node.resp import RequestParser

logger = logging.getLogger("pydisque.node")

FLUSH_AT = 256 * 1024
"""Bytes of replies after which they go out before the next command runs."""


MOST_AWAITED = 1000
"""Replies to come after which a client's next commands have to wait for some of them."""


TURN = 0.002
"""Seconds that one client's commands run before the others have their turn."""


class Connection(Session, asyncio.Protocol):
    """A `Session` on an asyncio transport."""

    _transport: asyncio.Transport

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(node)
        self._loop = loop
        limits = node.config.number("max-request"), node.config.number("max-arguments")
        self._parser = RequestParser(*limits)
        self._requests: deque[resp.Request] = deque()  # parsed, not run yet
        self._unparsed: list[bytes] = []  # came while there were such
        self._unparsed_size = 0
        self._replies: list[bytes] = []
        self._wrote = False  # some of them may tell of a change
        self._held: deque[tuple[int, int, bytes]] = deque()  # wait for a commit; how many
        self._awaited: deque[bytes | Reply] = deque()  # wait for a reply that comes later
        self._drained = True  # nothing of that has come, or it will be looked at soon
        self._held_size = 0
        self._running = False
        self._closing = False
        self._full = False  # more commands came than one turn runs: nothing is read before these
        self._hushed = False  # nothing more is read at all
        self._choked = False  # the client does not read its replies
        self._timer: asyncio.TimerHandle | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the client, or refuse it when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        node = self.node
        node.connections += 1
        if len(node.sessions) >= node.config.number("maxclients"):
            node.rejected += 1
            self._transport.write(resp.error("ERR max number of clients reached"))
            self.close()
            return
        sock = transport.get_extra_info("socket")
        self.fd = sock.fileno()
        self.unix = sock.family == socket.AF_UNIX
        if self.unix:
            self.address = node.config["unixsocket"].encode() + b":0"
        else:
            host, port = transport.get_extra_info("peername")[:2]
            self.address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
            keepalive = node.config["tcp-keepalive"] == "yes"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepalive)
        node.sessions[self.id] = self
        self.admit(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; a job that was on its way to it comes back after its retry time."""
        del exc
        self._closing = True
        self._requests.clear()
        self._held.clear()
        self._awaited.clear()
        self._end_wait()
        self.node.forget(self)

    def pause_writing(self) -> None:
        """Read no more from a client that does not read what it is sent."""
        self._choked = True
        self._transport.pause_reading()
        self.node.backlog.note(self, self.node.store.now)

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self._choked = False
        if not self._closing:
            self._read_on()
            self._loop.call_soon(self.resume)

    def data_received(self, data: bytes) -> None:
        """Run the commands that these bytes complete."""
        node = self.node
        node.received_bytes += len(data)
        node.store.tick()
        if node.store.ready:  # jobs fell due just now: they are for those who wait already
            node.serve()
        self.last_used = node.store.now
        if self._closing:
            return
        if self.blocked or self._requests:
            self._keep(data)
        elif requests := self._parser.feed(data):
            self._requests.extend(requests)
            self.resume()
        elif self._parser.error:
            self.resume()
        elif self._parser.pending > NOTED_FROM:
            node.backlog.note(self, node.store.now)

    def eof_received(self) -> bool:
        """Hang up too, once the client has what it may still be listening for."""
        self.close()
        return self._transport.get_extra_info("ssl_object") is None  # TLS knows no half of it

    # What the node calls

    def limit(self, *, short: bool) -> None:
        """Take short requests only, or all."""
        self._parser.limit(short=short)

    def send(self, data: bytes) -> None:
        """Put bytes on the wire, after what is there already."""
        self._replies.append(data)
        if not self._running:
            self._flush()

    def close(self) -> None:
        """Hang up once what was sent, and the reply under way, has left."""
        self._closing = True
        self._requests.clear()
        self.node.leave_line(self)  # now: what is served to it from here on would be lost
        if not self._running:
            self._end_wait()
            self._end()

    def abort(self) -> None:
        """Hang up at once, whatever is still unsent."""
        self._transport.abort()

    def hush(self) -> None:
        """Take nothing more from the client; what came already is still answered."""
        self._hushed = True
        self._transport.pause_reading()

    def in_hand(self) -> bool:
        """Whether there is something left that can be answered."""
        stuck = self.blocked or self._choked or self._closing or self.node.held
        return bool(self._awaited or ((self._requests or self._unparsed) and not stuck))

    def block(self, milliseconds: int) -> None:
        """Let no further command of this client run until `unblock`, or for that long (0: ever)."""
        self.blocked = True
        if milliseconds:
            self._timer = self._loop.call_later(milliseconds / 1000, self._wait_over)

    def time_out(self, milliseconds: int) -> None:
        """Let the blocked command end without a job after this long, counted from now."""
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(milliseconds / 1000, self._wait_over)

    def unblock(self, reply: bytes) -> None:
        """Answer the blocked command and go on with the client's next one."""
        self._end_wait()
        self._wrote = True
        self.send(self._adapted(reply) if self.guarded else reply)
        if self._requests or self._unparsed or self._parser.halted:
            self._loop.call_soon(self.resume)

    def buffers(self) -> tuple[int, int]:
        """Bytes received and not run yet, bytes to be sent yet."""
        received = self._parser.pending + self._unparsed_size
        return received, self._transport.get_write_buffer_size() + self._held_size

    def resume(self) -> None:
        """Run what can run now and send the replies."""
        if self._running:
            return
        self._running = True
        try:
            self._run_batch()
            while (self._unparsed or self._parser.halted) and not (
                self.blocked or self._requests or self._closing
            ):
                data = b"".join(self._unparsed)
                self._unparsed.clear()
                self._unparsed_size = 0
                self._requests.extend(self._parser.feed(data))
                self._run_batch()
            if self._parser.error and not (self.blocked or self._requests or self._closing):
                self._refuse_stream(self._parser.error)
        finally:
            self._running = False
        if self._replies:
            self._flush()
        if self._closing:
            self._end()
        elif self._requests and not (
            self.blocked
            or self._choked
            or self.node.held
            or self._held_size > FLUSH_AT
            or len(self._awaited) >= MOST_AWAITED
        ):
            self._full = True
            self._transport.pause_reading()
            self._loop.call_soon(self.resume)
        elif self._full and not self._requests:
            self._full = False
            self._read_on()
        self.node.end_turn()

    def _read_on(self) -> None:
        if not (self._hushed or self._full or self._choked or self._closing):
            self._transport.resume_reading()

    # Running commands

    def _run_batch(self) -> None:  # noqa: C901, PLR0912, PLR0915 - for speed
        """Run the requests at hand: everything in here is paid by every command."""
        node = self.node
        commands = node.spellings
        waiting = node.waiting.queues
        ready = node.store.ready
        slow_after = node.slow_after
        requests = self._requests
        replies = self._replies
        durable = node.store.durable
        node.store.asker = self
        size = 0
        started = perf_counter()
        deadline = started + TURN
        while requests and not (self.blocked or self._choked or node.held):
            args = requests.popleft()
            command = commands.get(args[0]) or self._find(args)
            if command is None:
                continue
            self.last_command = command
            if durable and command.writes:
                self._wrote = True
            try:
                if not command.least <= len(args) <= command.most:
                    raise command.arity_error()  # noqa: TRY301 - like any other error reply
                if node.guarded or self.guarded:
                    reply = self._run_guarded(command, args)
                else:
                    reply = command.run(self, args)
            except DisqueError as error:
                reply = resp.error(error.reply)
            except Exception:
                logger.exception("%s failed", command.name.decode())
                reply = INTERNAL_ERROR
            if self.guarded:
                reply = self._adapt(reply)
            if isinstance(reply, Reply):
                self._await(reply)
                if len(self._awaited) >= MOST_AWAITED:
                    deadline = 0.0  # these have to come first
            elif reply:
                replies.append(reply)
                size += len(reply)
                if size > FLUSH_AT:
                    self._flush()
                    size = 0
                    if self._held_size > FLUSH_AT:
                        deadline = 0.0  # these have to be sent first
            if ready:
                if waiting:
                    node.serve()
                else:
                    ready.clear()
            ended = perf_counter()
            command.calls += 1
            command.seconds += ended - started
            if ended - started >= slow_after:
                node.record_slow(ended - started, command.name, args)
            started = ended
            if ended > deadline:
                break  # it is the others' turn

    def _find(self, args: resp.Request) -> Command | None:
        """The command for a name in mixed case; answers QUIT and unknown names itself."""
        name = args[0].lower()
        command = self.node.commands.get(name)
        if command is None:
            if name == b"quit":
                self._answer(resp.OK)
                self.close()
            else:
                shown = args[0].partition(b"\0")[0].decode("utf-8", "surrogateescape")
                self._answer(resp.error(f"ERR unknown command '{shown}'"))
        return command

    def _run_guarded(self, command: Command, args: resp.Request) -> bytes | Reply | None:
        """Run a command with everything that is usually switched off looked at."""
        node = self.node
        if node.users.wanted and not (self.user and self.user.admin):
            node.check_access(self, command, args)
        node.check_journal(command)
        if b"denyoom" in command.flags:
            node.check_memory()
        if node.monitors:
            node.show_monitors(self, args)
        return command.run(self, args)

    def _answer(self, reply: bytes) -> None:
        """Answer what is no command."""
        self._replies.append(self._adapted(reply) if self.guarded else reply)

    def _adapted(self, reply: bytes) -> bytes:
        adapted = self._adapt(reply)
        return adapted if isinstance(adapted, bytes) else b""

    def _adapt(self, reply: bytes | Reply | None) -> bytes | Reply:
        """A reply as this session wants it: nothing at all, or in RESP3."""
        if self.reply_mode == b"skip":  # that was CLIENT REPLY SKIP itself
            self.reply_mode = b"skipping"
        elif self.reply_mode == b"skipping":
            self.reply_mode = b"on"
            return _unwanted(reply)
        if reply is None or self.reply_mode != b"on":
            return _unwanted(reply)
        if isinstance(reply, bytes):
            return resp.to_resp3(reply) if self.resp3 else reply
        reply.adapt = resp.to_resp3 if self.resp3 else None
        return reply

    # Replies that come later

    def _await(self, reply: Reply) -> None:
        """Send this when it is there, and whatever follows after it."""
        if self._replies:
            self._flush()
        reply.owner = self
        self._awaited.append(reply)

    def arrived(self) -> None:
        """A reply is there: send it at the end of this turn, with others that are."""
        if self._drained:
            self._drained = False
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Send what is there, up to the first reply that is not."""
        self._drained = True
        awaited, ready = self._awaited, list[bytes]()
        while awaited:
            first = awaited[0]
            data = first if isinstance(first, bytes) else first.bytes
            if data is None:
                break
            ready.append(data)
            awaited.popleft()
        if ready:
            self._write(b"".join(ready))
        if self._closing:
            self._end()
        elif self._requests or self._unparsed or self._parser.halted:
            self.resume()

    # Waiting, sending, ending

    def _keep(self, data: bytes) -> None:
        """Hold bytes back until the command before them is answered."""
        self._unparsed.append(data)
        self._unparsed_size += len(data)
        if self._unparsed_size > NOTED_FROM:
            self.node.backlog.note(self, self.node.store.now)

    def _wait_over(self) -> None:
        self.node.leave_line(self)
        self.unblock(resp.NIL_ARRAY)

    def _end_wait(self) -> None:
        self.blocked = False
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _refuse_stream(self, error: resp.ProtocolError) -> None:
        self._answer(resp.error(f"ERR Protocol error: {error}"))
        self._closing = True

    def _flush(self) -> None:
        """Send the replies; those that tell of what is not kept yet, and all after them, wait.

        Told of is also what others changed: that a job is gone, whose ack is being kept.
        """
        wrote, self._wrote = self._wrote, False
        count = len(self._replies)
        data = self._replies[0] if count == 1 else b"".join(self._replies)
        self._replies.clear()
        if self._awaited:
            self._awaited.append(data)
            return
        commit = self._held[-1][0] if self._held else 0
        if wrote and (last := self.node.commits.last()) > commit:
            commit = last
            self.node.commits.wait(commit, self)
        if commit:
            self._held.append((commit, count, data))
            self._held_size += len(data)
        else:
            self._write(data)

    def settle(self, commit: int, failure: str) -> None:
        """Send what waited for the commits up to this one, or as many errors."""
        while self._held and self._held[0][0] <= commit:
            _, count, data = self._held.popleft()
            self._held_size -= len(data)
            if failure:
                text = f"{MisconfError.text}: {failure}"
                data = resp.error(MisconfError(text).reply) * count
            self._write(data)
        if self._closing:
            self._end()
        elif self._requests or self._unparsed:
            self.resume()

    def _write(self, data: bytes) -> None:
        self.node.sent_bytes += len(data)
        self._transport.write(data)

    def _end(self) -> None:
        """Hang up, unless something is to be sent first."""
        if not (self._held or self._awaited):
            self._transport.close()


def _unwanted(reply: bytes | Reply | None) -> bytes | Reply:
    """What is left of a reply that the client does not want: one that comes later ends a wait."""
    if isinstance(reply, Reply):
        reply.adapt = lambda _: b""
        return reply
    return b""
