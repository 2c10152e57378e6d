"""What a command is: its words, how its reply is read, and whether it may be sent again.

Most are made in `commands`; but the node knows more commands than the clients have methods, so any
words can be one, and what can be said of it is read from its words. Nothing here knows nodes,
connections or time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

from pydisque import arguments
from pydisque.arguments import Argument, word
from pydisque.errors import UnexpectedReplyError
from pydisque.replies import misread

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
    first, *rest = (arguments.text("each argument", arg) for arg in args)
    words: Sequence[Argument] = first.split() if isinstance(first, (str, bytes)) else ()
    whole = (*(words or (first,)), *rest)
    name = word(whole[0])
    if name == "MONITOR":
        raise ValueError("MONITOR answers without end, and so needs a connection of its own")
    resend = RESEND.get(name, Resend.NEVER)
    return Command(whole, parse, resend, _wait(name, whole), name == "GETJOB")


def shortened(command: Command[R], elapsed: float) -> Command[R]:
    """The same command for another node, after one has let it wait for so many seconds.

    A GETJOB asks for the rest of its time; 0 would ask for all the time in the world.
    """
    if not command.wait or command.name != "GETJOB":
        return command
    rest = max(1, round((command.wait - elapsed) * 1000))
    at = [word(arg) for arg in command.args].index("TIMEOUT") + 1
    args = (*command.args[:at], str(rest), *command.args[at + 1 :])
    return command._replace(args=args, wait=rest / 1000)


def _wait(name: str, args: tuple[Argument, ...]) -> float | None:
    if name == "ADDJOB":
        return _seconds(args[3:4])
    if name != "GETJOB":
        return 0.0
    words = [word(arg) for arg in args]
    options = words[: words.index("FROM")] if "FROM" in words else words
    if "NOHANG" in options:
        return 0.0
    at = options.index("TIMEOUT") + 1 if "TIMEOUT" in options else len(args)
    return _seconds(args[at : at + 1])


def _seconds(milliseconds: tuple[Argument, ...]) -> float | None:
    """The seconds of a timeout, None for one that is 0 or left out; the node judges the others."""
    try:
        return int(word(milliseconds[0])) / 1000 or None
    except (IndexError, ValueError):
        return None if not milliseconds else 0.0
