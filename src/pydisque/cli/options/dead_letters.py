"""Which dead letters a command means: those with these IDs, or those of a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from pydisque.cli.options.nodes import be_known, number, shown
from pydisque.cli.options.parameters import batches_of_ids, maybe_ids, queue_names
from pydisque.cli.options.stdin import Value
from pydisque.dead_letters import encoded

if TYPE_CHECKING:
    from pydisque.client.client import Client
    from pydisque.dead_letters import Filed

F = TypeVar("F", bound=Callable[..., Any])


class Wanted(NamedTuple):
    """Which letters are meant, if not by their IDs."""

    queue: str | None
    """The queue in which the jobs died."""
    dead_queue: str
    error: str
    """What is part of the error."""

    @classmethod
    def by(cls, queue: str | None, dead_queue: str | None, error: str | None) -> Wanted | None:
        """What these options mean; None if no queue is named."""
        from pydisque.dead_letters import queue_for  # noqa: PLC0415

        if dead_queue is not None:
            return cls(queue, dead_queue, error or "")
        return None if queue is None else cls(None, queue_for(queue), error or "")

    @property
    def everything(self) -> bool:
        """Whether every letter in the dead queue is meant."""
        return self.queue is None and not self.error

    def match(self, filed: Filed) -> bool:
        """Whether a letter is meant."""
        letter = filed.letter
        return (
            letter is not None and self.queue in (None, letter.queue) and self.error in letter.error
        )


def choosing(function: F) -> F:
    """The arguments with which letters are chosen."""
    for option in (
        click.option("--error", metavar="TEXT", help="Only letters whose error has this text."),
        click.option(
            "--dead-queue",
            shell_complete=queue_names,
            metavar="NAME",
            help="The letters lie in this queue.",
        ),
        click.option(
            "--queue",
            shell_complete=queue_names,
            metavar="NAME",
            help="All letters of jobs of this queue.",
        ),
        maybe_ids,
    ):
        function = option(function)
    return function


Found = Iterator[tuple["Client", list["Filed"]]]


def chosen(
    ids: tuple[Value, ...], queue: str | None, dead_queue: str | None, **filters: Any
) -> Wanted | None:
    """What is meant by these options; None: the IDs. Both, or neither, is refused."""
    wanted = Wanted.by(queue, dead_queue, filters["error"])
    if bool(ids) == (wanted is not None):
        raise click.UsageError("give either IDs of letters, or --queue or --dead-queue")
    for name, value in filters.items():
        if ids and value is not None:
            raise click.UsageError(f"--{name} goes with --queue or --dead-queue, not with IDs")
    return wanted


class Choice:
    """The letters that were asked for, and what was found beside them."""

    def __init__(
        self, clients: list[Client], ids: tuple[Value, ...], wanted: Wanted | None
    ) -> None:
        """Choose by what is wanted or, without it, by IDs."""
        self._clients = clients
        self._ids = list(dict.fromkeys(chain.from_iterable(batches_of_ids(ids))))
        self._wanted = wanted
        self.failed = 0
        """How many of the letters with these IDs could not be had."""

    def batches(self, most: int | None = None) -> Found:
        """The letters, some at a time, each with a client of a node that has them."""
        found = self._by_id() if self._wanted is None else self._by_queue(self._wanted)
        for client, batch in found:
            if most is not None:
                batch, most = batch[:most], most - len(batch[:most])  # noqa: PLW2901
            if batch:
                yield client, batch
            if most == 0:
                return

    def _by_id(self) -> Found:
        from pydisque import dead_letters  # noqa: PLC0415

        missing = self._ids
        for queued in (True, False):  # a copy at another node, or taken by a consumer, comes last
            for client in self._clients:
                known = {}
                for start in range(0, len(missing), dead_letters.BATCH):
                    ids = missing[start : start + dead_letters.BATCH]
                    batch = dead_letters.find(client, ids, queued=queued)
                    known.update({filed.id: filed for filed in batch if filed is not None})
                    letters = [filed for filed in batch if filed and filed.letter]
                    yield client, letters
                for filed in known.values():
                    if filed.letter is None:
                        text = f"{filed.id}: no dead letter, but a job of {filed.dead_queue}"
                        self._complain(text)
                missing = [job_id for job_id in missing if job_id not in known]
        for job_id in missing:
            self._complain(f"{job_id}: no node knows such a job")

    def _complain(self, text: str) -> None:
        self.failed += 1
        click.echo(shown(text), err=True)

    def _by_queue(self, wanted: Wanted) -> Found:
        from pydisque import dead_letters  # noqa: PLC0415

        be_known(self._clients, dead_letters.encoded(wanted.dead_queue))
        seen: set[str] = set()
        others = 0
        for client in self._clients:
            for batch in dead_letters.select(client, wanted.dead_queue):
                fresh = [filed for filed in batch if filed.id not in seen]
                seen.update(filed.id for filed in fresh)
                others += sum(filed.letter is None for filed in fresh)
                yield client, [filed for filed in fresh if wanted.match(filed)]
        if others:
            text = f"no dead letters, and left alone: {number(others, 'job')} in"
            click.echo(f"{text} {shown(encoded(wanted.dead_queue))}", err=True)
