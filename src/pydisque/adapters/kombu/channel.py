"""A channel of kombu: puts messages into queues, and passes on those that were fetched.

Which queues are bound to an exchange is known to all processes, see `bindings`; a message that
is persistent and that no queue gets is refused.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from datetime import UTC, datetime
from queue import Empty
from typing import Any, Protocol

from amqp.exceptions import ChannelError
from kombu.entity import TRANSIENT_DELIVERY_MODE as TRANSIENT
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments

from pydisque.adapters.kombu.bindings import Binding, Bindings, BindingsError
from pydisque.adapters.kombu.celery_apps import configured, in_a_task, is_task
from pydisque.adapters.kombu.consumer import Engine, Intake
from pydisque.adapters.kombu.messages import (
    Options,
    decode,
    encode,
    growing,
    job_options,
    life_in,
    priority_of,
    requeues_too_often,
)
from pydisque.adapters.priorities import Steps
from pydisque.client.client import Client, ReceivedJob
from pydisque.dead_letters import DeadLetter, queue_for
from pydisque.errors import PausedError
from pydisque.worker.handlers.handler import Dead, Retry
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.policy import text_of, trace_of
from pydisque.worker.worker import MONTH

logger = logging.getLogger("pydisque.adapters.kombu")

MAX_PRIORITY = "x-max-priority"

# Seconds for which the bindings that were read serve transient messages to a durable exchange.
EVENT_BINDINGS = 1.0

# Jobs looked at, or acknowledged, in one go when a queue is purged.
BATCH = 1000


class QoS:
    """What kombu has in hand, by delivery tag: how a message ends is told here."""

    def __init__(self, channel: Channel) -> None:
        """Have nothing in hand."""
        self._channel = channel
        self._jobs: dict[str, WorkerJob] = {}
        self._prefetch_count = 0

    @property
    def prefetch_count(self) -> int:
        """The most messages to have in hand; 0: no limit."""
        return self._prefetch_count

    @prefetch_count.setter
    def prefetch_count(self, count: int) -> None:
        self._prefetch_count = count
        if not self._channel.closed:
            self._channel.intake.limit(count)

    def append(self, job: WorkerJob, tag: str) -> None:
        """One more is in hand."""
        self._jobs[tag] = job

    def ack(self, tag: str) -> None:
        """It is done."""
        self._end(tag, None)

    def reject(self, tag: str, *, requeue: bool = False) -> None:
        """It failed: it comes again at once, or never."""
        self._end(tag, Retry(0) if requeue else Dead("rejected"))

    def restore_unacked(self) -> list[Any]:
        """Have all that is in hand delivered again."""
        for tag in list(self._jobs):
            self.reject(tag, requeue=True)
        return []

    def restore_unacked_once(self) -> None:
        """The channel ends: the intake has given back what it fetched, and here is the rest."""
        received = [job.received for job in self._jobs.values()]
        self._channel.client.put_back([job for job in received if isinstance(job, ReceivedJob)])
        self._jobs.clear()

    def _end(self, tag: str, outcome: Retry | Dead | None) -> None:
        job = self._jobs.pop(tag, None)
        if job is not None:
            self._channel.answer(job, outcome)


class ChannelHost(Protocol):
    """What a channel uses of the transport that it belongs to."""

    disque: Client
    options: Options
    nodes: list[str]
    bindings: Bindings
    steps: dict[str, Steps]
    passing: dict[str, int | None]
    configured: set[str]
    dropping: set[str]

    @property
    @abstractmethod
    def is_ours(self) -> bool:
        """Whether this process made it."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """What fetches for all channels."""

    def keep_recorded(self) -> None:
        """Record the bindings of this process again and again."""

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver the next message."""


_Base: Any = virtual.Channel  # kombu says little of its types


class Channel(_Base):
    """What a producer or a consumer talks to."""

    connection: ChannelHost
    QoS = QoS
    supports_fanout = True

    def __init__(self, connection: ChannelHost, **kwargs: Any) -> None:
        """Make one of a transport's channels."""
        super().__init__(connection, **kwargs)
        self.client = connection.disque
        self._options = connection.options
        self._intake: Intake | None = None
        self._callbacks: dict[str, Any] = {}
        self._no_ack: set[str] = set()
        self._names: dict[bytes, str] = {}

    @property
    def _bindings(self) -> Bindings:
        return self.connection.bindings

    @property
    def intake(self) -> Intake:
        """What fetches; it begins when it is first needed."""
        if self._intake is None:
            transport = self.connection
            self._intake = Intake(transport.engine, transport.nodes, self._options)
        return self._intake

    def start_anew(self) -> None:
        """Consume anew, in a forked child; messages that are not acknowledged are the parent's."""
        self._intake = None
        count, self._qos = self.qos.prefetch_count, None
        for queue in self._callbacks:
            self.intake.want(queue, self._steps(queue).of(queue))
        if count:
            self.qos.prefetch_count = count

    # Produce

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str | None, **_: Any
    ) -> None:
        """Put a message into all queues that are bound to its exchange by its routing key.

        Raises:
            ChannelError: No queue is bound, and the message is persistent.
            redis.exceptions.RedisError: No node took it, or the bindings cannot be read.
        """
        self._inplace_augment_message(message, exchange, routing_key)
        for queue, life in self._queues_for(message, exchange, routing_key or "").items():
            self._put(queue, message, life)

    def _queues_for(
        self, message: dict[str, Any], exchange: str, routing_key: str
    ) -> dict[str, int | None]:
        """The queues a message goes to, and how long it lives there."""
        if routing_key and not exchange:  # each queue is bound to the default exchange by its name
            return {routing_key: self.connection.passing.get(routing_key)}
        self._declare_configured(exchange)
        durable: bool = self._exchange(exchange).get("durable", True)
        transient = _is_transient(message)
        # Events are sent often. All else, as remote control, reaches each consumer that is ready.
        max_age = EVENT_BINDINGS if durable and transient else 0.0
        certainly = durable and not transient
        tried: list[str] = []
        name: str | None = exchange
        while name is not None and name not in tried:
            tried.append(name)
            if found := self._bound(name, routing_key, certainly, max_age):
                return found
            name = self._alternate(name)
        if self.deadletter_queue:
            return {self.deadletter_queue: None}
        if certainly:
            raise _no_route(exchange, routing_key)
        self._log_drop(exchange, routing_key)
        return {}

    def _bound(
        self, exchange: str, routing_key: str, certainly: bool, max_age: float
    ) -> dict[str, int | None]:
        if not exchange:
            return {}
        self._declare_configured(exchange)
        try:
            return self._bindings.queues(
                exchange, routing_key, certainly=certainly, max_age=max_age
            )
        except BindingsError as error:
            raise _error("RESOURCE_ERROR", f"{error}: {exchange!r}", "506") from error

    def _alternate(self, exchange: str) -> str | None:
        """The exchange for messages that no queue of this one gets, as RabbitMQ has it."""
        arguments = self._exchange(exchange).get("arguments") or {}
        name = arguments.get("alternate-exchange")
        return name if isinstance(name, str) else None

    def _exchange(self, exchange: str) -> dict[str, Any]:
        """What we declared of an exchange."""
        declared: dict[str, Any] = self.state.exchanges.get(exchange, {})
        return declared

    def _log_drop(self, exchange: str, routing_key: str) -> None:
        if exchange not in self.connection.dropping:
            self.connection.dropping.add(exchange)
            text = "transient message to exchange %r by routing key %r dropped: no queue is bound"
            logger.info(text, exchange, routing_key)

    def _declare_configured(self, exchange: str) -> None:
        """Declare what the program's configuration binds to an exchange, once."""
        transport = self.connection
        if not exchange or exchange in transport.configured:
            return
        for entity in configured(transport.nodes, exchange):
            entity(self).declare()
        transport.configured.add(exchange)

    def _put(self, queue: str, message: dict[str, Any], life: int | None = None) -> None:
        try:
            self._add(queue, message, life)
        except PausedError as error:
            if not in_a_task():
                raise
            self._outlast(error, queue, message, life)

    def _add(self, queue: str, message: dict[str, Any], life: int | None) -> None:
        given = job_options(message, self._options, time.time(), life)
        self.client.add_job(self._name(queue, message), encode(message), **given)

    def _outlast(
        self, paused: PausedError, queue: str, message: dict[str, Any], life: int | None
    ) -> None:
        """Wait until a queue is resumed; if that takes too long the message is a dead letter.

        A task that is told of a pause as it retries itself, or sends the next one of its chain,
        ends, and with it what it was about to send.
        """
        for pause in growing(self._options.paused_wait):
            try:
                time.sleep(pause)
            except BaseException:  # the task's time is over
                self._keep(paused, queue, message)
                raise
            try:
                self._add(queue, message, life)
            except PausedError:
                continue
            return
        self._keep(paused, queue, message)

    def _keep(self, paused: PausedError, queue: str, message: dict[str, Any]) -> None:
        if not self._options.dead_letters:
            raise paused
        name = self._name(queue, message)
        why = "not sent, as the queue was paused in input"
        letter = self._file(DeadLetter(name, "", 0, 0, why, "", _now(), encode(message)))
        logger.error("a message of %s: %s, its dead letter is %s", name, why, letter)

    def _name(self, queue: str, message: dict[str, Any]) -> str:
        return self._steps(queue).queue_for(queue, priority_of(message))

    # Queues

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        """Nothing is to be made; some of what is said of a queue is remembered."""
        arguments = kwargs.get("arguments") or {}
        most = arguments.get(MAX_PRIORITY)
        if most:
            self.connection.steps[queue] = Steps(range(1, min(int(most), self.max_priority) + 1))
        if kwargs.get("exclusive") or kwargs.get("auto_delete"):
            self.connection.passing[queue] = life_in(arguments)

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """What a queue is declared with, in RabbitMQ's words."""
        return to_rabbitmq_queue_arguments(arguments, **kwargs)

    def queue_bind(
        self, queue: str, exchange: str | None = None, routing_key: str | None = "", **_: Any
    ) -> None:
        """Bind a queue to an exchange, for all processes.

        Raises:
            redis.exceptions.RedisError: It cannot be recorded.
        """
        exchange = exchange or "amq.direct"
        passing = self.connection.passing
        kind = self.typeof(exchange).type
        lasting, life = queue not in passing, passing.get(queue)
        self._bindings.declare(exchange, Binding(queue, routing_key or "", kind, lasting, life))
        if not lasting:
            self.connection.keep_recorded()

    def queue_unbind(
        self, queue: str, exchange: str | None = None, routing_key: str | None = "", **_: Any
    ) -> None:
        """Remove a binding, for all processes.

        Raises:
            redis.exceptions.RedisError: It cannot be recorded.
        """
        self._bindings.remove(exchange or "amq.direct", (queue, routing_key or ""))

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any
    ) -> None:
        """Remove what is queued, and what binds the queue."""
        if not (if_empty and self._size(queue)):
            self._bindings.remove_queue(queue)
            self._purge(queue)

    def exchange_delete(self, exchange: str, **_: Any) -> None:
        """Remove an exchange and all its bindings; the queues stay."""
        self._bindings.remove_all(exchange)
        self.state.exchanges.pop(exchange, None)

    def get_table(self, exchange: str) -> list[tuple[str, str | None, str]]:
        """The bindings of an exchange, as kombu has them."""
        return [(key, None, queue) for queue, key, _ in self._bindings.rows(exchange)]

    def _size(self, queue: str) -> int:
        return sum(self.client.qlen(name) for name in self._steps(queue).of(queue))

    def _purge(self, queue: str) -> int:
        """Acknowledge what is queued, of a paused queue too; how much that was."""
        purged = 0
        for name in self._steps(queue).of(queue):
            if not self.client.qlen(name):  # a search goes through all jobs of the node
                continue
            ids = list(dict.fromkeys(self.client.iter_jobs(name, state="queued", count=BATCH)))
            for start in range(0, len(ids), BATCH):
                purged += self.client.ack_job(*ids[start : start + BATCH])
        return purged

    def _steps(self, queue: str) -> Steps:
        return self.connection.steps.get(queue, _NO_STEPS)

    # Consume

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **_: Any
    ) -> None:
        """Have messages of a queue passed to a callback."""
        self._tag_to_queue[consumer_tag] = queue
        self._consumers.add(consumer_tag)
        self._callbacks[queue] = callback
        if no_ack:
            self._no_ack.add(queue)
        names = self._steps(queue).of(queue)
        self._names.update({name.encode(): queue for name in names})
        self.intake.want(queue, names)
        self.connection.keep_recorded()

    def basic_cancel(self, consumer_tag: str) -> None:
        """End that; what was fetched and not passed on goes back at once."""
        if consumer_tag not in self._consumers:
            return
        self._consumers.remove(consumer_tag)
        queue = self._tag_to_queue.pop(consumer_tag)
        self._callbacks.pop(queue, None)
        self._no_ack.discard(queue)
        self.intake.want_no_more(queue)
        self._bindings.withdraw(queue)

    def pass_on(self) -> bool:
        """Pass on one message that was fetched; whether there was one."""
        if self._intake is None:
            return False
        self._intake.check()
        job = self._intake.box.take()
        if job is not None:
            self._deliver(job, self._intake)
        return job is not None

    def _deliver(self, job: WorkerJob, intake: Intake) -> None:
        queue = self._names[job.name]
        callback = self._callbacks.get(queue)
        if callback is None:  # its consumer was cancelled a moment ago
            intake.give_back(job)
            return
        message = self._lend(job, no_ack=queue in self._no_ack)
        if message is None:
            return
        try:
            callback(message)
        except Exception:
            intake.box.let_go(job)
            raise

    def _lend(self, job: WorkerJob, *, no_ack: bool) -> Any:
        """The message that a job is, in hand from now on; None, and a dead letter, if it is none.

        Kombu checks nothing of a message, so what is wrong with one shows as any kind of error.
        """
        try:
            message = self._message(job)
        except Exception as error:  # noqa: BLE001
            self.answer(job, Dead(f"this is no message of kombu: {text_of(error)}"))
            return None
        if no_ack:
            self.answer(job, None)
        else:
            self.qos.append(job, message.delivery_tag)
        return message

    def _message(self, job: WorkerJob) -> Any:
        payload = decode(job.body)
        properties = payload["properties"]
        properties["delivery_tag"] = f"{job.id}.{job.attempt}"
        if job.attempt > 1:
            properties["delivery_info"] = {**(properties.get("delivery_info") or {}), **_AGAIN}
        return self.Message(payload, channel=self)

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Any:
        """One message that waits, or None; nobody renews its lease."""
        names = self._steps(queue).of(queue)
        while got := self.client.get_jobs(names, nohang=True):
            job = WorkerJob(*got[0])
            job.received = got[0]
            message = self._lend(job, no_ack=no_ack)
            if message is not None:
                return message
        return None

    def answer(self, job: WorkerJob, outcome: Retry | Dead | None) -> None:
        """End a job: the intake does so for those that it fetched, and here is the rest."""
        if isinstance(outcome, Retry) and (why := requeues_too_often(job.nacks, self._options)):
            outcome = Dead(why)
        got = job.received
        if not isinstance(got, ReceivedJob):
            self.intake.box.answer(job, outcome)
        elif isinstance(outcome, Retry):
            got.nack()
        else:
            if isinstance(outcome, Dead):
                self._bury(job, outcome)
            got.ack()

    def _bury(self, job: WorkerJob, why: Dead) -> None:
        if not self._options.dead_letters:
            logger.error("job %s of %s: given up: %s", job.id, job.queue, why)
            return
        letter = DeadLetter(
            job.queue, job.first_id, job.nacks, job.additional_deliveries, str(why),
            trace_of(why), _now(), job.body, job.headers,
        )  # fmt: skip
        text = "job %s of %s: dead, its letter is %s: %s"
        logger.error(text, job.id, job.queue, self._file(letter), why)

    def _file(self, letter: DeadLetter) -> str:
        added = self.client.add_job(queue_for(letter.queue), letter.to_body(), ttl=MONTH)
        return added.decode()

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        raise Empty

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> None:
        """Wait for a message, as the transport does."""
        self.connection.drain_events(self.connection, timeout=timeout)

    def close(self) -> None:
        """End it: what was not acknowledged is delivered again."""
        if not self.closed:
            self._consumers.clear()
            if self.connection is not None and self.connection.is_ours:
                self._end()
            self._qos = None
        super().close()

    def _end(self) -> None:
        for queue in list(self._callbacks):
            self._bindings.withdraw(queue)
        if self._intake is not None:
            self._intake.close()
        if self._qos is not None:
            self._qos.restore_unacked_once()


def _is_transient(message: dict[str, Any]) -> bool:
    """Whether a message may be dropped for its delivery mode, as an event of Celery.

    Not so a task: whole programs set the delivery mode for another broker's speed.
    """
    return message["properties"].get("delivery_mode") == TRANSIENT and not is_task(message)


def _no_route(exchange: str, routing_key: str) -> ChannelError:
    if not exchange:
        return _error("NO_ROUTE", "the default exchange needs the name of a queue", "312")
    what = (
        f"no queue is bound to exchange {exchange!r} by routing key {routing_key!r}: declare one "
        "in task_queues, or the exchange with durable=False if messages may be dropped"
    )
    return _error("NO_ROUTE", what, "312")


def _error(word: str, what: str, code: str) -> ChannelError:
    """An error of AMQP's, with its class and method for a publish; Celery knows it."""
    return ChannelError(f"{word} - {what}", (60, 40), "Basic.publish", code)


_NO_STEPS = Steps()
_AGAIN = {"redelivered": True}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
