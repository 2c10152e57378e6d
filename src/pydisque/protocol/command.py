"""What a command is: its words, how its reply is read, and whether it may be sent again.

Most are made in `commands`; but the node knows more commands than the clients have methods, so any
words can be one, and what can be said of it is read from its words. Nothing here knows nodes,
connections or time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

from pydisque.errors import UnexpectedReplyError
from pydisque.protocol import validation
from pydisque.protocol.replies import misread
from pydisque.protocol.validation import Argument, word

R = TypeVar("R")


class Resend(Enum):
    """What may happen to a command whose connection broke after its bytes may have left."""

    ALWAYS = "a read, or harmless when it arrives twice"
    ONCE_PER_NODE = "to another node only: each node may get it once"
    NEVER = "it is not known what it does"


class Command(NamedTuple, Generic[R]):
    """One command, ready to be sent by whichever client.

    ``wait`` is how many seconds the node itself may take before it answers; None is for ever.
    ``takes`` says that the reply hands out jobs, which are lost for a while if nobody gets it.
    """

    args: tuple[Argument, ...]
    parse: Callable[[Any], R]
    resend: Resend
    wait: float | None = 0.0
    takes: bool = False

    @property
    def name(self) -> str:
        """The command's name in upper case."""
        return word(self.args[0])

    def misread(self, reply: Any) -> UnexpectedReplyError:
        """The error for a reply that `parse` could not read, whatever it met.

        ``parse`` is called without a wrapper, as it is on the path of every command::

            try:
                return command.parse(reply)
            except Exception:
                raise command.misread(reply) from None  # what it met may show a part of a job
        """
        return misread(self.name, reply)


_HARMLESS_TWICE = (
    *("GETJOB", "ACKJOB", "FASTACK", "DELJOB", "ENQUEUE", "DEQUEUE", "NACK", "WORKING", "PAUSE"),
    *("SHOW", "JSCAN", "QLEN", "QPEEK", "QSTAT", "QSCAN", "HELLO", "INFO", "PING", "TIME"),
)

# What may be sent again, by name; what is not named here may not.
RESEND = dict.fromkeys(_HARMLESS_TWICE, Resend.ALWAYS) | {"ADDJOB": Resend.ONCE_PER_NODE}


def raw(args: tuple[Any, ...], parse: Callable[[Any], Any]) -> Command[Any]:
    """Any command by its words; a first word with blanks in it is several, as in redis-py.

    A command that is not Disque's own is never sent twice. MONITOR is refused: what it sends would
    be taken for the answers to other commands.
    """
    if not args:
        raise TypeError("a command needs a name")
    first, *rest = (validation.text("each argument", arg) for arg in args)
    words: Sequence[Argument] = first.split() if isinstance(first, (str, bytes)) else ()
    whole = (*(words or (first,)), *rest)
    name = word(whole[0])
    if name == "MONITOR":
        raise ValueError("MONITOR answers without end, and so needs a connection of its own")
    resend = RESEND.get(name, Resend.NEVER)
    return Command(whole, parse, resend, _wait(name, whole), name == "GETJOB")


SLICE = 5.0
"""Seconds that a GETJOB waits at most before the node has to answer, and is sent again.

A node that was stopped keeps its connections open and says nothing: only an answer that is due
shows it. And a wait whose caller is gone ends by itself, so that no job is sent to nobody.
"""


def shortened(command: Command[R], elapsed: float) -> Command[R]:
    """The command to send when so many seconds of its wait are over: a GETJOB asks for a slice."""
    if not command.takes or command.wait == 0.0:
        return command
    rest = SLICE if command.wait is None else min(SLICE, max(0.001, command.wait - elapsed))
    if rest == command.wait:
        return command
    return command._replace(args=with_timeout(command.args, str(round(rest * 1000))), wait=rest)


def goes_on(command: Command[Any], asked: float, started: float, now: float) -> bool:
    """Whether nil is not the end of a GETJOB: a slice is over, and its time is not.

    Args:
        command: What the caller wants.
        asked: When the slice was sent.
        started: When the caller began to wait.
        now: The time.
    """
    if not command.takes or command.wait == 0.0 or now - asked < SLICE * 0.9:
        return False
    return command.wait is None or now - started < command.wait


def first_slice(command: Command[Any]) -> tuple[tuple[Argument, ...], float]:
    """What `shortened` says at the beginning, without a command made anew: words and wait."""
    args, wait = command.args, command.wait
    if wait is not None and wait <= SLICE:
        return args, wait
    if len(args) > 1 and args[1] == "FROM":  # sent most, and no option to look for
        return _ENDLESS + args[1:], SLICE
    return with_timeout(args, _SLICE), SLICE


_SLICE = str(round(SLICE * 1000))
_ENDLESS = ("GETJOB", "TIMEOUT", _SLICE)


def with_timeout(args: tuple[Argument, ...], timeout: str) -> tuple[Argument, ...]:
    """The words of a GETJOB with this timeout in milliseconds."""
    at = _timeout_at(args)
    if at is None:
        return (args[0], "TIMEOUT", timeout, *args[1:])
    return (*args[:at], timeout, *args[at + 1 :])


def without_timeout(args: tuple[Argument, ...]) -> tuple[Argument, ...]:
    """The words of a GETJOB but for its timeout: what it asks for."""
    at = _timeout_at(args)
    return args if at is None else (*args[: at - 1], *args[at + 1 :])


def _timeout_at(args: tuple[Argument, ...]) -> int | None:
    if args[1:2] == ("TIMEOUT",):  # where `get_job` writes it
        return 2
    words = [word(arg) for arg in args]
    options = words[: words.index("FROM")] if "FROM" in words else words
    return options.index("TIMEOUT") + 1 if "TIMEOUT" in options else None


def _wait(name: str, args: tuple[Argument, ...]) -> float | None:
    if name == "ADDJOB":
        return _seconds(args[3:4])
    if name != "GETJOB":
        return 0.0
    words = [word(arg) for arg in args]
    if "NOHANG" in words[: words.index("FROM") if "FROM" in words else None]:
        return 0.0
    at = _timeout_at(args) or len(args)
    return _seconds(args[at : at + 1])


def _seconds(milliseconds: tuple[Argument, ...]) -> float | None:
    """The seconds of a timeout, None for one that is 0 or left out; the node judges the others."""
    try:
        return int(word(milliseconds[0])) / 1000 or None
    except (IndexError, ValueError):
        return None if not milliseconds else 0.0
