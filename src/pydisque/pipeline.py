"""Commands collected to be sent at once.

A pipeline has the client's command methods; instead of a reply each returns the pipeline. What is
sent where, and again, is the client's business.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

from pydisque import commands
from pydisque.binding import present
from pydisque.command import Command

P = ParamSpec("P")


def _queued(
    function: Callable[P, Command[Any]],
) -> Callable[Concatenate[Pipeline, P], Pipeline]:
    def queue(self: Pipeline, /, *args: P.args, **kwargs: P.kwargs) -> Pipeline:
        return self.queue(function(*args, **kwargs))

    return present(queue, function, "Pipeline", returns="Pipeline")


class Pipeline:
    """Commands that are sent together and answered together, not all or nothing.

    ::

        with client.pipeline() as pipeline:
            pipeline.add_job("mail", "first").add_job("mail", "second").qlen("mail")
            first, second, length = pipeline.execute()

    A pipeline is for one thread.
    """

    def __init__(
        self,
        send: Callable[[list[Command[Any]]], list[Any]],
        raw: Callable[..., Command[Any]],
    ) -> None:
        """Make a pipeline from what sends commands and returns their results, errors in place."""
        self._send = send
        self._raw = raw
        self._commands: list[Command[Any]] = []

    add_job = _queued(commands.add_job)
    get_job = _queued(commands.get_job)
    ack_job = _queued(commands.ack_job)
    fast_ack = _queued(commands.fast_ack)
    nack_job = _queued(commands.nack_job)
    working = _queued(commands.working)
    enqueue = _queued(commands.enqueue)
    dequeue = _queued(commands.dequeue)
    del_job = _queued(commands.del_job)
    show = _queued(commands.show)
    qlen = _queued(commands.qlen)
    qstat = _queued(commands.qstat)
    qpeek = _queued(commands.qpeek)
    pause = _queued(commands.pause)
    qscan = _queued(commands.qscan)
    jscan = _queued(commands.jscan)
    hello = _queued(commands.hello)
    info = _queued(commands.info)
    ping = _queued(commands.ping)

    def execute_command(self, *args: Any, **options: Any) -> Pipeline:
        """Queue any command by its words, as `Client.execute_command`."""
        return self.queue(self._raw(*args, **options))

    def queue(self, command: Command[Any]) -> Pipeline:
        """Queue a command made elsewhere."""
        self._commands.append(command)
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all that is queued and return the results in order; the pipeline is empty again.

        Args:
            raise_on_error: Raise the first error, once all commands have been carried out. If
                false, each error stands in its command's place.

        Raises:
            DisqueError: A node refused a command.
            redis.exceptions.ConnectionError: No node answered a command.
        """
        waiting, self._commands = self._commands, []
        results = self._send(waiting)
        errors = (result for result in results if isinstance(result, Exception))
        if raise_on_error and (error := next(errors, None)) is not None:
            raise error
        return results

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._commands = []
