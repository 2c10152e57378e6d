"""Parses one client's requests, runs them and writes the replies in order.

A turn ends after `TURN` seconds, parsing included; what is left runs in later turns, and nothing is
read before all of it has run. A blocking command stops the later ones; a reply that comes later, or
is held for a commit, only delays later replies. The states are in `states`. What a command does is
not known here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from time import perf_counter
from typing import cast

from pydisque.errors import DisqueError, MisconfError
from pydisque.node import states
from pydisque.node.state.node import Command, Node, Session
from pydisque.node.state.output_limits import NOTED_FROM
from pydisque.node.wire import arguments, resp
from pydisque.node.wire.deferred_reply import INTERNAL_ERROR, Reply
from pydisque.node.wire.resp import OtherProtocolError, ProtocolError, Request, RequestParser

logger = logging.getLogger("pydisque.node")

FLUSH_AT = 256 * 1024
"""Bytes of replies after which they go out before the next command runs."""

MOST_AWAITED = 1000
"""Replies to come after which a client's next commands have to wait for some of them."""

AWAITED_SIZE = 4 * 1024 * 1024
"""Bytes of these, of their requests and of the replies behind them, likewise."""

FULL_READ = 256 * 1024
"""Bytes that the loop reads at once, if there are as many: it may read more right after them."""

TURN = 0.002
"""Seconds that one client's commands run before the others have their turn."""


class Connection(Session, asyncio.Protocol):
    """A `Session` on an asyncio transport."""

    _transport: asyncio.Transport

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(node)
        self.state = states.IDLE
        self._loop = loop
        limits = node.config.number("max-request"), node.config.number("max-arguments")
        self._parser = RequestParser(*limits)
        self._requests: list[Request] = []  # parsed and not run yet, the first one at the end
        self._requests_memory = 0  # counted for a client that cannot run on
        self._replies: list[bytes] = []
        self._wrote = False  # some of them may tell of a change
        self._held: deque[tuple[int, int, bytes]] = deque()  # wait for a commit; how many
        self._held_size = 0
        self._awaited: deque[bytes | Reply] = deque()  # wait for a reply that comes later
        self._awaited_size = 0
        self._drains = False  # what has come of that will be sent soon
        self._large_write = 0  # the last one
        self._output_full = False  # the transport takes no more: the client does not read
        self._hushed = False  # the node stops, and reads nothing more
        self._paused = False  # nothing is read now
        self._deadline = 0.0  # of this turn
        self._timer: asyncio.TimerHandle | None = None

    @property
    def blocked(self) -> bool:
        """Whether a command waits for its reply."""
        return self.state in states.UNBLOCK

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
        peer = transport.get_extra_info("peername")
        self.fd = sock.fileno()
        self.unix = sock.family == socket.AF_UNIX
        if self.unix:
            self.address = node.config["unixsocket"].encode() + b":0"
        elif peer is None:  # the client reset the connection before it was accepted
            self.close()
            return
        else:
            host, port = peer[:2]
            self.address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
            keepalive = node.config["tcp-keepalive"] == "yes"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepalive)
        node.sessions[self.id] = self
        self.admit(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; a job that was on its way to it comes back after its retry time."""
        del exc
        self.state = states.LOSE[self.state]
        self._drop_requests()
        self._held.clear()
        self._awaited.clear()
        self._replies.clear()
        self.node.forget(self)

    def pause_writing(self) -> None:
        """Read no more from a client that does not read what it is sent."""
        self._output_full = True
        self._choose_reading()
        self.node.backlog.note(self, self.node.store.now)

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self._output_full = False
        self.resume()
        self._choose_reading()

    def data_received(self, data: bytes) -> None:
        """Run the commands that these bytes complete."""
        node = self.node
        node.received_bytes += len(data)
        node.store.tick()
        if node.store.ready:  # jobs fell due just now: they are for those who wait already
            node.serve()
        self.last_used = node.store.now
        if self.state is states.IDLE and not node.held:
            self._run_turn(data)
        elif self.state not in (states.CLOSING, states.CLOSED):
            self._keep(data)

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
        if self.state is not states.RUNNING:
            self._flush()

    def close(self) -> None:
        """Hang up once what was sent, and the reply under way, has left."""
        running = self.state is states.RUNNING
        self.state = states.CLOSE[self.state]
        self._drop_requests()
        self.node.leave_line(self)  # now: what is served to it from here on would be lost
        if not running:
            self._end()

    def abort(self) -> None:
        """Hang up at once, whatever is still unsent."""
        self.state = states.CLOSE[self.state]
        self._drop_requests()
        self.node.leave_line(self)  # now, likewise: the loop says only later that it is lost
        self._transport.abort()

    def hush(self) -> None:
        """Take nothing more from the client; what came already is still answered."""
        self._hushed = True
        self._choose_reading()

    def in_hand(self) -> bool:
        """Whether there is something left that can be answered."""
        stuck = self._output_full or self.node.held
        return bool(self._awaited) or (
            self.state in (states.THROTTLED, states.SUSPENDED)
            or (self.state is states.STALLED and not stuck)
        )

    def block(self, milliseconds: int) -> None:
        """Let no further command of this client run until `unblock`, or for that long (0: ever)."""
        self.state = states.BLOCK[self.state]
        if milliseconds:
            self._timer = self._loop.call_later(milliseconds / 1000, self._wait_over)

    def suspend(self) -> None:
        """Let no further command of this client run, and read nothing, until `unblock`."""
        self.state = states.SUSPEND[self.state]
        self._choose_reading()

    def time_out(self, milliseconds: int) -> None:
        """Let the blocked command end without a job after this long, counted from now."""
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(milliseconds / 1000, self._wait_over)

    def unblock(self, reply: bytes) -> None:
        """Answer the blocked command and go on with the client's next one."""
        if not self.blocked:
            return  # it is about to leave
        self.state = states.UNBLOCK[self.state]
        self._stop_timer()
        self._wrote = True
        self.send(self._adapted(reply) if self.guarded else reply)
        self._go_on()

    @property
    def is_reading(self) -> bool:
        """Whether the client takes what it is sent; what waits for other replies does not count."""
        return not self._output_full

    def buffers(self) -> tuple[int, int]:
        """Bytes received and not run yet, bytes to be sent yet."""
        return self._parser.pending, self._transport.get_write_buffer_size() + self._held_size

    def memory(self) -> int:
        """Bytes of memory that the client's requests and replies take, in all."""
        unsent = self._transport.get_write_buffer_size()
        if unsent:  # what of a reply is sent already is freed with the rest
            unsent = max(unsent, self._large_write)
        waiting = self.node.waiting.memory(self)
        replies = unsent + self._held_size + self._awaited_size
        return self._parser.memory + self._requests_memory + waiting + replies

    def resume(self) -> None:
        """Run what was held back, as far as nothing else stands in its way."""
        if self.state is states.STALLED:
            self._go_on()

    def take_turn(self) -> None:
        """Run what is left of the last turn, unless something stands in its way by now."""
        if self.state is not states.THROTTLED:
            return
        if self._stalls():
            self._stall()
        else:
            self._run_turn(b"")

    # Turns

    def _run_turn(self, data: bytes) -> None:
        """Parse and run for a moment; send the replies."""
        self.state = states.RUN[self.state]
        self.node.store.asker = self
        parser = self._parser
        all_ran = False
        try:
            if data:
                self._requests = requests = parser.take(data)
                requests.reverse()
                if not requests and parser.pending > NOTED_FROM:
                    self.node.backlog.note(self, self.node.store.now)
            started = perf_counter()
            self._deadline = deadline = started + TURN
            while (all_ran := self._run_requests(started)) and parser.more and started < deadline:
                self._requests = parser.parse()
                self._requests.reverse()
                started = perf_counter()
        except ProtocolError as error:
            self._refuse(error)
        if self._replies:
            self._flush()
        if self.state is states.RUNNING:
            if all_ran and not parser.more and not self._paused and len(data) < FULL_READ:
                self.state = states.FINISH[self.state]
            else:
                self._go_on(yields=not all_ran or perf_counter() > self._deadline - TURN / 2)
        else:
            self._turn_ended_otherwise()
        self.node.end_turn()

    def _turn_ended_otherwise(self) -> None:
        if self.state is states.CLOSING:
            self._end()
        else:
            self._note_parsed()

    def _go_on(self, *, yields: bool = False) -> None:
        """Queue for another turn if there is more to run, or if others have to be read first."""
        if not (yields or self._parser.more or self._requests):
            self._requests_memory = 0
            self.state = states.FINISH[self.state]
        elif self._stalls():
            self._stall()
        else:
            self.state = states.THROTTLE[self.state]
            self.node.turns.add(self)
        self._choose_reading()

    def _stalls(self) -> bool:
        """Whether no command may run for now, as its reply could not be sent."""
        return (
            self._output_full
            or self.node.held
            or self._held_size > FLUSH_AT
            or len(self._awaited) >= MOST_AWAITED
            or self._awaited_size > AWAITED_SIZE
        )

    def _stall(self) -> None:
        self.state = states.STALL[self.state]
        self._note_parsed()
        self._choose_reading()

    def _keep(self, data: bytes) -> None:
        """Hold bytes back until commands may run again."""
        self._parser.feed(data)
        if self.state is states.IDLE:
            self._stall()
        elif self._parser.pending > NOTED_FROM:
            self.node.backlog.note(self, self.node.store.now)
            self._choose_reading()

    def _choose_reading(self) -> None:
        """Read, or stop reading, as the state wants it."""
        pauses = (
            self._output_full
            or self._hushed
            or self.state not in states.READING
            or (self.state is states.BLOCKED and self._parser.pending > NOTED_FROM)
        )
        if pauses != self._paused and self.state not in (states.CLOSING, states.CLOSED):
            self._paused = pauses
            (self._transport.pause_reading if pauses else self._transport.resume_reading)()

    def _note_parsed(self) -> None:
        """Count what is parsed and cannot run now, and the request that made the client wait."""
        overhead = resp.ARGUMENT_COST * sum(map(len, self._requests))
        size = self._parser.parsed + overhead + resp.REQUEST_COST * len(self._requests)
        self._requests_memory = size if self._requests else 0
        if size > NOTED_FROM:
            self.node.backlog.note(self, self.node.store.now)

    def _drop_requests(self) -> None:
        self._parser.clear()
        self._requests.clear()
        self._requests_memory = 0
        self._stop_timer()

    # Running commands

    def _run_requests(self, started: float) -> bool:
        """Run the requests at hand; whether all did. Every command pays for all in here."""
        node = self.node
        commands = node.spellings
        ready = node.store.ready
        waiting = node.waiting.queues
        slow_after = node.slow_after
        replies = self._replies
        durable = node.store.durable
        size = 0
        requests = self._requests
        while requests:
            args = requests.pop()
            command = commands.get(args[0]) or self._find(args[0])
            self.last_command = command
            reply = self._execute(command, args)
            if durable and command.writes:
                self._wrote = True
            if isinstance(reply, Reply):
                self._await(reply, args)
            elif reply:
                replies.append(reply)
                size += len(reply)
                if size > FLUSH_AT:
                    size = self._flush_early()
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
            if ended > self._deadline or self.state is not states.RUNNING or node.held:
                return False
        return True

    def _flush_early(self) -> int:
        """Send what there is in the middle of a turn; the bytes that are left to be sent: none."""
        self._flush()
        self._end_turn_if_stalled()
        return 0

    def _end_turn_if_stalled(self) -> None:
        if self._stalls():
            self._deadline = 0.0

    def _execute(self, command: Command, args: Request) -> bytes | Reply | None:
        try:
            if not command.least <= len(args) <= command.most:
                raise command.arity_error()  # noqa: TRY301 - like any other error reply
            if self.node.guarded or self.guarded:
                reply = self._run_guarded(command, args)
            else:
                reply = command.run(self, args)
        except DisqueError as error:
            reply = resp.error(error.reply)
        except Exception:
            logger.exception("%s failed", command.name.decode())
            reply = INTERNAL_ERROR
        return self._adapt(reply) if self.guarded else reply

    def _find(self, typed: bytes) -> Command:
        """The command for a name in mixed case; QUIT and unknown names are none of the node's."""
        name = typed.lower()
        return self.node.commands.get(name) or (_QUIT if name == b"quit" else _UNKNOWN)

    def _run_guarded(self, command: Command, args: Request) -> bytes | Reply | None:
        """Run a command with everything that is usually switched off looked at."""
        if command in (_QUIT, _UNKNOWN):
            return command.run(self, args)
        node = self.node
        if node.users.wanted and not (self.user and self.user.admin):
            node.check_access(self, command, args)
        node.check_journal(command)
        if b"denyoom" in command.flags:
            node.check_memory()
        if node.monitors:
            node.show_monitors(self, args)
        return command.run(self, args)

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

    def _refuse(self, error: ProtocolError) -> None:
        """Hang up on a client that does not speak the protocol."""
        if isinstance(error, OtherProtocolError):
            client, now = self.address.decode(), self.node.store.now
            self.node.other_protocols.warn(now, "closing client %s: %s", client, error)
        else:
            reply = resp.error(f"ERR Protocol error: {error}")
            self._replies.append(self._adapted(reply) if self.guarded else reply)
        self.close()

    # Replies that come later

    def _await(self, reply: Reply, args: Request) -> None:
        """Send this when it is there, and whatever follows after it."""
        if self._replies:
            self._flush()
        reply.size = sum(map(len, args))
        reply.owner = self
        self._awaited.append(reply)
        self._awaited_size += reply.size
        self._end_turn_if_stalled()

    def arrived(self, size: int) -> None:
        """A reply of so many bytes is there: send it at the end of this turn, with others."""
        self._awaited_size += size
        if not self._drains:
            self._drains = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Send what is there, up to the first reply that is not."""
        self._drains = False
        awaited, ready = self._awaited, list[bytes]()
        while awaited:
            first = awaited[0]
            data = first if isinstance(first, bytes) else first.bytes
            if data is None:
                break
            ready.append(data)
            awaited.popleft()
            self._awaited_size -= len(data) + (0 if isinstance(first, bytes) else first.size)
        if ready:
            self._write(b"".join(ready))
        if self.state is states.CLOSING:
            self._end()
        else:
            self.resume()

    # Waiting, sending, ending

    def _wait_over(self) -> None:
        self.node.leave_line(self)
        self.unblock(resp.NIL_ARRAY)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

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
            self._awaited_size += len(data)
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
        if self.state is states.CLOSING:
            self._end()
        else:
            self.resume()

    def _write(self, data: bytes) -> None:
        self.node.sent_bytes += len(data)
        if len(data) > NOTED_FROM:
            self._large_write = len(data)
        self._transport.write(data)

    def _end(self) -> None:
        """Hang up, unless something is to be sent first."""
        if not (self._held or self._awaited):
            self._transport.close()


def _quit(session: Session, args: Request) -> bytes:
    del args
    session.close()
    return resp.OK


def _unknown(session: Session, args: Request) -> bytes:
    del session
    raise DisqueError(f"unknown command '{arguments.shown(args[0])}'")


_QUIT = Command(b"quit", -1, b"", _quit)
_UNKNOWN = Command(b"NULL", -1, b"", _unknown)
"""What CLIENT LIST shows as the last command then, as Disque does."""


def _unwanted(reply: bytes | Reply | None) -> bytes | Reply:
    """What is left of a reply that the client does not want: one that comes later ends a wait."""
    if isinstance(reply, Reply):
        reply.adapt = lambda _: b""
        return reply
    return b""
