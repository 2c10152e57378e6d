"""One class per Disque error word, and the table between them.

The node raises these and the connection writes their text; the client reads an error reply
and raises the class its first word names. Nothing here knows which side it is on.
"""

from __future__ import annotations

from typing import ClassVar

from redis.exceptions import AuthenticationError, ConnectionError, ResponseError  # noqa: A004

__all__ = [
    "BadIDError",
    "ConnectionLostError",
    "DisqueError",
    "LeavingError",
    "LetterTakenError",
    "LoadingError",
    "MaxLenError",
    "MisconfError",
    "NoAuthError",
    "NoJobError",
    "NoPermError",
    "NoProtoError",
    "NoReplError",
    "OOMError",
    "PausedError",
    "TooLateError",
    "UnexpectedReplyError",
    "UnreachableError",
    "error_from_reply",
]


class DisqueError(ResponseError):
    """An error reply of a node; the base of all the others, itself used for the word ``ERR``.

    ``str(error)`` is the reply without its ``ERR`` word, as redis-py shows it; every other word
    stays part of the text, so code that looked at the text before goes on working.
    """

    word: ClassVar[str] = "ERR"
    text: ClassVar[str] = ""

    def __init__(self, text: str | None = None) -> None:
        """Make the error with its own text, or with the usual text of its word."""
        super().__init__(self.text if text is None else text)

    def __str__(self) -> str:
        return super().__str__() if self.word == "ERR" else self.reply

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @property
    def reply(self) -> str:
        """The error as it stands on the wire, without its dash and line end."""
        return f"{self.word} {super().__str__()}"


class BadIDError(DisqueError):
    """An argument is not shaped like a job ID."""

    word = "BADID"
    text = "Invalid Job ID format."


class NoJobError(DisqueError):
    """WORKING: this node does not know the job; it was acknowledged, or expired."""

    word = "NOJOB"
    text = "Job not known in the context of this node."


class TooLateError(DisqueError):
    """WORKING: more than half of the job's TTL is gone; finish, or lose the job to another."""

    word = "TOOLATE"
    text = (
        "Half of job TTL already elapsed, you are no longer allowed to postpone the next delivery."
    )


class NoReplError(DisqueError):
    """A change has too few copies: fewer than REPLICATE or the node's ``replicate`` ask for.

    A node on Valkey returns it for any change that a replica which may be promoted does not have in
    time. It then removes the job of an ADDJOB again. If the primary fails before that, the job may
    still be there after the failover, and be delivered.
    """

    word = "NOREPL"
    text = "Not enough reachable nodes for the requested replication level"


class MaxLenError(DisqueError):
    """ADDJOB: the queue already holds MAXLEN jobs; the job was not added."""

    word = "MAXLEN"
    text = "Queue is already longer than the specified MAXLEN count"


class PausedError(DisqueError):
    """ADDJOB: the queue is paused in input; the job was not added."""

    word = "PAUSED"
    text = "Queue paused in input, try later"


class LeavingError(DisqueError):
    """The node is leaving the cluster; another node will serve the command."""

    word = "LEAVING"
    text = "This node is leaving the cluster, please connect to a different one"


class OOMError(DisqueError):
    """ADDJOB, ENQUEUE, NACK: the node is short of memory; the command did nothing."""

    word = "OOM"
    text = "command not allowed when used memory > 'maxmemory'."


class NoAuthError(DisqueError):
    """The node wants a password first."""

    word = "NOAUTH"
    text = "Authentication required."


class NoPermError(DisqueError):
    """The user may not run this command: it is for admins."""

    word = "NOPERM"
    text = "this user has no permissions to run this command"


class MisconfError(DisqueError):
    """The node cannot write its journal; nothing was stored."""

    word = "MISCONF"
    text = "Errors writing to the AOF file"


class LoadingError(DisqueError):
    """The node is still reading its journal."""

    word = "LOADING"
    text = "Disque is loading the dataset in memory"


class NoProtoError(DisqueError):
    """HELLO: the node does not speak the asked version of RESP."""

    word = "NOPROTO"
    text = "unsupported protocol version"


class UnexpectedReplyError(DisqueError):
    """The node's reply is not shaped as the command's replies are; the text describes its shape.

    It is no error of the node's own, and shows no part of the reply: that may be of jobs.
    """


class LetterTakenError(DisqueError):
    """A dead letter is not queued here: a consumer or another replay has it."""

    text = "the letter is not queued here: a consumer or another replay has it"


class ConnectionLostError(ConnectionError):
    """The connection broke or fell silent before the reply; ``sent``: the node may have got it."""

    def __init__(self, text: str, *, sent: bool = True) -> None:
        """Make the error from what happened and whether the whole command may have left."""
        super().__init__(text)
        self.sent = sent


class UnreachableError(ConnectionError):
    """No node could be made to answer; the text names each one tried and why.

    ``sent``: one of them may nevertheless have carried the command out.
    """

    sent = False


# Answers that send a command to another node; every other error is the caller's to know.
MOVE_ON = (LeavingError, LoadingError)

# Answers that do not change by waiting: when every node gives one, there is nothing to wait for.
FINAL = (LeavingError, NoAuthError, AuthenticationError)

BY_WORD: dict[str, type[DisqueError]] = {
    cls.word: cls for cls in DisqueError.__subclasses__() if "word" in vars(cls)
}


def error_from_reply(reply: str) -> DisqueError:
    """The exception for an error reply, given without its dash and line end.

    A word that is not known becomes a plain `DisqueError` with the whole reply as its text.
    """
    word, _, text = reply.partition(" ")
    if word == "ERR":
        return DisqueError(text)
    cls = BY_WORD.get(word)
    return DisqueError(reply) if cls is None else cls(text)
