"""Dead letters: jobs that were given up, kept in a queue of their own for somebody to look at.

A dead letter is a job as any other. Its body is the body of the job that died, untouched, and how
it came to die travels beside it in a header. Workers write them; here they are read, put back and
purged.

::

    with Client() as client:
        for filed in dead_letters.peek(client, "orders:dead", 10):
            print(filed.id, filed.letter.error if filed.letter else "no dead letter")
        for batch in dead_letters.select(client, "orders:dead"):
            timeouts = [f for f in batch if f.letter and "Timeout" in f.letter.error]
            dead_letters.replay(client, timeouts)

The functions take a `Client` that does not decode responses, and look at the node it uses. None
takes a letter out of its queue unless it is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from pydisque.client.requeue import at_most_once, requeue
from pydisque.errors import LetterTakenError
from pydisque.protocol import commands
from pydisque.protocol.command import Command
from pydisque.protocol.envelope import EARLIER, unwrap, wrap

if TYPE_CHECKING:
    from pydisque.client.client import Client

T = TypeVar("T")

HEADER = "pydisque-dead"
SUFFIX = ":dead"

# Jobs asked for, or told of, in one go.
BATCH = 100


def queue_for(queue: str) -> str:
    """The queue in which the dead letters of a queue are, unless its handler names another."""
    return queue + SUFFIX


class DeadLetter(NamedTuple):
    """A job that died, and why."""

    queue: str
    """The queue it was in."""
    id: str
    """The ID under which it was first added."""
    nacks: int
    additional_deliveries: int
    error: str
    """In one line."""
    traceback: str
    at: str
    """When it died: date and time, ISO 8601 in UTC."""
    body: bytes = b""
    headers: Mapping[str, Any] = {}
    """What else travelled with it, such as its trace."""

    def to_body(self) -> bytes:
        """The body of the job that is to be added for it."""
        story = self._asdict()
        del story["body"], story["headers"]
        kept = {name: value for name, value in self.headers.items() if name != EARLIER}
        return wrap(wrap(self.body, kept), {HEADER: story})

    @classmethod
    def of_body(cls, body: bytes, longest: int | None = None) -> Self | None:
        """Read the body of a job; None if that is no dead letter.

        Args:
            body: The body.
            longest: Bytes of headers that are read at most, as for `envelope.unwrap`.
        """
        inner, headers = unwrap(body, longest)
        story = headers.pop(HEADER, None)
        if not isinstance(story, dict):
            return None
        if {name: type(value) for name, value in story.items()} != _STORY:
            return None
        try:
            encoded(story["queue"])
        except UnicodeEncodeError:  # half a letter, of which JSON may tell, is no name
            return None
        return cls(**story, body=inner, headers=headers)

    def reborn(self) -> bytes:
        """The body with which it can be added to its queue again, its attempts uncounted."""
        return wrap(self.body, self.headers)


_STORY = {
    "queue": str, "id": str, "nacks": int, "additional_deliveries": int,
    "error": str, "traceback": str, "at": str,
}  # fmt: skip


class Filed(NamedTuple):
    """A job in a queue of dead letters."""

    id: str
    """Its own ID, not that of the job that died."""
    dead_queue: str
    """The queue it is in."""
    letter: DeadLetter | None
    """None: it is no dead letter, and somebody else's business."""
    body: bytes
    """Its own body."""


def dead_queues(client: Client) -> list[str]:
    """The queues with dead letters, as far as their names end in ``:dead``, in order."""
    names = {name_of(name) for name in client.iter_queues(minlen=1)}
    return sorted(name for name in names if name.endswith(SUFFIX))


def peek(client: Client, dead_queue: str, count: int) -> list[Filed]:
    """The oldest letters of a queue, at most so many."""
    jobs = client.qpeek(encoded(dead_queue), count)
    return [filed(job.id, job.queue, job.body) for job in jobs]


def find(client: Client, ids: Iterable[str], *, queued: bool = False) -> list[Filed | None]:
    """Jobs by their IDs; None for one that the node does not know, or is done with.

    Args:
        client: The client.
        ids: The job IDs.
        queued: Whether jobs that are not queued at this node count as not known.

    Raises:
        BadIDError: One of them is not shaped like a job ID.
    """
    pipeline = client.pipeline()
    for job_id in ids:
        pipeline.show(job_id)
    infos = pipeline.execute()
    return [
        filed(info.id, info.queue, info.body)
        if info and info.state != b"acked" and not (queued and info.state != b"queued")
        else None
        for info in infos
    ]


def select(client: Client, dead_queue: str) -> Iterator[list[Filed]]:
    """All jobs that wait in a queue when this begins, in no order, some at a time.

    Letters that somebody has taken from the queue are not among them.
    """
    queued = client.iter_jobs(encoded(dead_queue), state="queued", count=10 * BATCH)
    for ids in _batches([name_of(job_id) for job_id in dict.fromkeys(queued)]):
        yield [filed for filed in find(client, ids) if filed is not None]


def replay(
    client: Client,
    letters: Sequence[Filed],
    *,
    to: str | None = None,
    delay: int | None = None,
    ttl: int | None = None,
    retry: int | None = None,
) -> list[bytes | Exception]:
    """Put jobs back into their queues, with all attempts before them, and purge their letters.

    Each letter is claimed first: it is taken out of its queue (DEQUEUE), which one of several
    replays can do. It is acknowledged once its job is added, and queued again if the job is
    refused. If this is cut off in between the letter is queued again after its RETRY. Only when it
    is cut off between adding the job and acknowledging the letter there are both then, and a later
    replay adds the job a second time; so it can with a letter to be delivered at most once, which
    cannot be claimed as nothing would queue it again. No letter is lost.

    Args:
        client: The client.
        letters: What is no dead letter among them is refused before anything is done.
        to: Put them into this queue.
        delay: Seconds before they are queued.
        ttl: Seconds after which they are dropped; default as for ADDJOB, not as it was.
        retry: Seconds after which they are delivered again if not acknowledged; likewise.

    Returns:
        For each the ID of the new job, or the error that came instead; then its letter is left. It
        is a `LetterTakenError` if the letter was not queued at the client's node.

    Raises:
        ValueError: One of these is no dead letter, or an option is not as described.
        redis.exceptions.ConnectionError: No node answered. Letters of jobs that were added may be
            left.
    """
    replicate = 1 if retry == 0 else None  # at most once, which allows for one copy
    additions = []
    for filed in letters:
        if filed.letter is None:
            raise ValueError(f"job {filed.id} is no dead letter")
        queue = encoded(filed.letter.queue if to is None else to)
        body = filed.letter.reborn()
        additions.append(
            commands.add_job(queue, body, delay=delay, ttl=ttl, retry=retry, replicate=replicate)
        )
    results: list[bytes | Exception] = []
    for batch in _batches(list(zip((filed.id for filed in letters), additions, strict=True))):
        results += _replay_batch(client, dict(batch))
    return results


def _replay_batch(
    client: Client, additions: Mapping[str, Command[bytes]]
) -> list[bytes | Exception]:
    """Claim letters and add their jobs, by the letters' IDs."""
    outcomes: dict[str, bytes | Exception] = dict(_claims(client, list(additions)))
    claimed = [letter_id for letter_id in additions if letter_id not in outcomes]
    added = _each(client, [additions[letter_id] for letter_id in claimed])
    outcomes |= zip(claimed, added, strict=True)
    done = [i for i in claimed if not isinstance(outcomes[i], Exception)]
    purge(client, done)
    if refused := [i for i in claimed if i not in done and not at_most_once(i)]:
        script = requeue(refused)
        try:
            batch = next(script)
            while True:
                batch = script.send(_each(client, batch))
        except StopIteration:
            pass
    return [outcomes[letter_id] for letter_id in additions]


def _claims(client: Client, ids: list[str]) -> Iterator[tuple[str, Exception]]:
    """Take letters out of their queue for the time of their RETRY; those that cannot be, and why.

    On a real Disque that time began when a letter was queued, so it is begun anew.
    """
    ids = [letter_id for letter_id in ids if not at_most_once(letter_id)]
    taken = _each(client, [commands.dequeue(letter_id) for letter_id in ids])
    for letter_id, result in zip(ids, taken, strict=True):
        if isinstance(result, Exception):
            yield letter_id, result
        elif not result:
            yield letter_id, LetterTakenError()
    mine = [i for i, result in zip(ids, taken, strict=True) if result == 1]
    _each(client, [commands.working(letter_id) for letter_id in mine])


def _each(client: Client, batch: Iterable[Command[Any]]) -> list[Any]:
    """What comes of commands, errors in their places."""
    pipeline = client.pipeline()
    for command in batch:
        pipeline.queue(command)
    return pipeline.execute(raise_on_error=False)


def purge(client: Client, ids: Sequence[str]) -> int:
    """Acknowledge letters by their IDs: they are gone for good. How many of them the node knew."""
    return sum(client.ack_job(*batch) for batch in _batches(ids))


def encoded(name: str) -> bytes:
    """A queue's name as it is on the wire, where it may be any bytes."""
    return name.encode("utf-8", "surrogateescape")


def name_of(name: bytes) -> str:
    """The same name as text, from which `encoded` makes the same bytes again."""
    return name.decode("utf-8", "surrogateescape")


def filed(job_id: bytes, queue: bytes, body: bytes, longest: int | None = None) -> Filed:
    """A job of a queue of dead letters, read; `longest` is as for `DeadLetter.of_body`."""
    return Filed(name_of(job_id), name_of(queue), DeadLetter.of_body(body, longest), body)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
