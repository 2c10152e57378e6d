"""Commands collected to be sent at once.

A pipeline has the client's command methods; instead of a reply each returns the pipeline. What is
sent where, and again, is the client's business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from pydisque.client.signatures import present
from pydisque.protocol import commands
from pydisque.protocol.command import Command

P = ParamSpec("P")
SendT = TypeVar("SendT", bound=Callable[[list[Command[Any]]], Any])
QueueT = TypeVar("QueueT", bound="Queue[Any]")


def _queued(function: Callable[P, Command[Any]]) -> Callable[Concatenate[QueueT, P], QueueT]:
    def queue(self: QueueT, /, *args: P.args, **kwargs: P.kwargs) -> QueueT:
        return self.queue(function(*args, **kwargs))

    return present(queue, function, "Pipeline", returns="Self")


class Queue(Generic[SendT]):
    """The commands of a pipeline, whichever way it sends them."""

    def __init__(self, send: SendT, raw: Callable[..., Command[Any]]) -> None:
        """Make a pipeline from what sends commands and returns their results, errors in place."""
        self._send = send
        self._raw = raw
        self._commands: list[Command[Any]] = []

    add_job = _queued(commands.add_job)
    add_json = _queued(commands.add_json)
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

    def execute_command(self, *args: Any, **options: Any) -> Self:
        """Queue any command by its words, as `Client.execute_command`."""
        return self.queue(self._raw(*args, **options))

    def queue(self, command: Command[Any]) -> Self:
        """Queue a command made elsewhere."""
        self._commands.append(command)
        return self

    def _taken(self) -> list[Command[Any]]:
        """What is queued, which then is empty."""
        taken, self._commands = self._commands, []
        return taken

    def __len__(self) -> int:
        return len(self._commands)

    def __bool__(self) -> bool:
        return True


class Pipeline(Queue[Callable[[list[Command[Any]]], list[Any]]]):
    """Commands that are sent together and answered together, not all or nothing.

    ::

        with client.pipeline() as pipeline:
            pipeline.add_job("mail", "first").add_job("mail", "second").qlen("mail")
            first, second, length = pipeline.execute()

    A pipeline is for one thread.
    """

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all that is queued and return the results in order; the pipeline is empty again.

        Args:
            raise_on_error: Raise the first error, once all commands have been carried out. If
                false, each error stands in its command's place.

        Raises:
            DisqueError: A node refused a command.
            redis.exceptions.ConnectionError: No node answered a command.
        """
        return _checked(self._send(self._taken()), raise_on_error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taken()


class AsyncPipeline(Queue[Callable[[list[Command[Any]]], Awaitable[list[Any]]]]):
    """Commands that are sent together and answered together, not all or nothing.

    ::

        async with client.pipeline() as pipeline:
            pipeline.add_job("mail", "first").add_job("mail", "second").qlen("mail")
            first, second, length = await pipeline.execute()

    A pipeline is for one task.
    """

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all that is queued and return the results in order; the pipeline is empty again.

        Args:
            raise_on_error: Raise the first error, once all commands have been carried out. If
                false, each error stands in its command's place.

        Raises:
            DisqueError: A node refused a command.
            redis.exceptions.ConnectionError: No node answered a command.
        """
        return _checked(await self._send(self._taken()), raise_on_error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taken()


def _checked(results: list[Any], raise_on_error: bool) -> list[Any]:
    errors = (result for result in results if isinstance(result, Exception))
    if raise_on_error and (error := next(errors, None)) is not None:
        raise error
    return results
