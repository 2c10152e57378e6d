"""Which queues a message to an exchange gets into, when several processes bind queues."""

from __future__ import annotations

import json
import logging
import re

import pytest
from amqp.exceptions import ChannelError
from kombu import Connection, Exchange, Queue, binding
from redis.exceptions import ConnectionError as RedisConnectionError

from pydisque.adapters.kombu import bindings
from pydisque.adapters.kombu.bindings import LASTS, Binding, Bindings, Record, queue_of
from pydisque.client import Client
from support.servers import serving, until

server = serving("memory", "valkey", "disque")


def connection(server, **options):
    return Connection(f"disque://{server.addresses[0]}/", transport_options={"retry": 2, **options})


@pytest.fixture
def one(server):
    """A connection of one process."""
    with connection(server) as made:
        yield made


@pytest.fixture
def two(server):
    """A connection of another process, which has declared nothing."""
    with connection(server) as made:
        yield made


@pytest.fixture
def client(server):
    """A client of the node."""
    with Client(server.addresses[0]) as made:
        yield made


def publish(connection, exchange, key, body="x", **options):
    with connection.channel() as channel:
        producer = connection.Producer(channel, auto_declare=False)
        producer.publish(body, exchange=exchange, routing_key=key, **options)


@pytest.mark.parametrize(
    ("kind", "bound", "sent", "other"),
    [
        ("direct", "k", "k", "l"),
        ("topic", "log.*.error", "log.a.error", "log.a.info"),
        ("topic", "log.#", "log.a.b", "web.a"),
    ],
)
def test_what_others_bound_is_known(one, two, client, queue, kind, bound, sent, other):
    """A message gets into a queue that another process declared, and no other message does."""
    Queue(queue, Exchange(queue, kind), routing_key=bound)(one.channel()).declare()
    publish(two, queue, sent)
    assert client.qlen(queue) == 1
    with pytest.raises(ChannelError, match=re.escape(f"{queue!r} by routing key {other!r}")):
        publish(two, queue, other)
    assert client.qlen(queue) == 1


def test_a_message_gets_into_all_queues_that_are_bound(one, two, client, queue):
    """Those of this process and of others, of fanout exchanges and of several bindings."""
    fanout, direct = Exchange(f"{queue}-f", "fanout"), Exchange(queue, "direct")
    both = [binding(direct, routing_key=key) for key in ("k", "l")]
    Queue(f"{queue}-1", bindings=both)(one.channel()).declare()
    Queue(f"{queue}-2", direct, routing_key="k")(two.channel()).declare()
    Queue(f"{queue}-2", fanout)(one.channel()).declare()
    Queue(f"{queue}-3", fanout)(one.channel()).declare()
    publish(two, queue, "k")
    publish(two, queue, "l")
    publish(two, fanout.name, "")
    assert [client.qlen(f"{queue}-{number}") for number in (1, 2, 3)] == [2, 2, 1]


def test_a_binding_stays_when_its_process_has_ended(server, two, client, queue):
    """As the queue stays, and what is in it."""
    with connection(server) as one:
        Queue(queue, Exchange(queue), routing_key="k")(one.channel()).declare()
    publish(two, queue, "k")
    assert client.qlen(queue) == 1


def test_a_binding_that_was_removed_takes_nothing(one, two, client, queue):
    """Also in processes that had declared it themselves, until it is declared again."""
    bound = Queue(queue, Exchange(queue), routing_key="k")
    for each in (one, two):
        bound(each.channel()).declare()
    bound(one.channel()).unbind_from(Exchange(queue), routing_key="k")
    for each in (one, two):
        with pytest.raises(ChannelError, match="NO_ROUTE"):
            publish(each, queue, "k")
    two.transport.bindings.repeat()
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        publish(one, queue, "k")
    bound(one.channel()).declare()
    publish(two, queue, "k")
    assert client.qlen(queue) == 1


def test_a_queue_that_was_deleted_gets_nothing(one, two, client, queue):
    """Its bindings are gone, and those of an exchange that was; other queues keep theirs."""
    exchange = Exchange(queue)
    for name in ("a", "b"):
        Queue(f"{queue}-{name}", exchange, routing_key=name)(one.channel()).declare()
    publish(two, queue, "a")
    channel = one.channel()
    channel.queue_delete(f"{queue}-a", if_empty=True)
    publish(two, queue, "a")
    channel.queue_delete(f"{queue}-a")
    assert client.qlen(f"{queue}-a") == 0
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        publish(two, queue, "a")
    publish(two, queue, "b")
    channel.exchange_delete(queue)
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        publish(two, queue, "b")
    assert client.qlen(f"{queue}-b") == 1


def test_a_passing_queue_is_bound_while_it_has_a_consumer(one, two, queue):
    """A cancelled consumer ends the binding, and a new one makes it again."""
    passing = Queue(queue, Exchange(queue), routing_key="k", auto_delete=True)
    with one.channel() as channel:
        for _ in range(2):
            consumer = one.Consumer(passing, channel=channel, no_ack=True)
            consumer.consume()
            publish(two, queue, "k")
            consumer.cancel()
            with pytest.raises(ChannelError, match="NO_ROUTE"):
                publish(one, queue, "k")


def test_of_two_consumers_of_a_passing_queue_one_may_go(server, one, two, client, queue):
    """Each has its own record, and the queue is bound until both are gone."""
    passing = Queue(queue, Exchange(queue), routing_key="k", auto_delete=True)
    with connection(server) as other, one.Consumer(passing):
        with two.Consumer(passing):
            pass
        publish(other, queue, "k")


def test_what_nobody_has_to_get_may_be_lost(one, client, queue):
    """Transient messages, and those of an exchange that does not last, as in remote control."""
    publish(one, queue, "k", delivery_mode="transient")
    Exchange(queue, "fanout", durable=False)(one.channel()).declare()
    publish(one, queue, "k")


@pytest.mark.parametrize("mode", ["persistent", "transient"])
def test_a_broadcast_reaches_a_queue_that_was_bound_a_moment_ago(one, two, client, queue, mode):
    """Bindings are read for each message to an exchange that is not durable."""
    exchange = Exchange(queue, "fanout", durable=False)
    exchange(one.channel()).declare()
    for count in range(3):
        publish(one, queue, "k", delivery_mode=mode)
        assert sum(client.qlen(f"{queue}-{each}") for each in range(count)) == sum(range(count + 1))
        Queue(f"{queue}-{count}", exchange)(two.channel()).declare()


def test_events_reach_a_queue_that_was_bound_a_second_ago(one, two, client, queue, monkeypatch):
    """For transient messages to a durable exchange, bindings are read once a second."""
    peeks = []
    peek = one.transport.disque.qpeek
    monkeypatch.setattr(
        one.transport.disque, "qpeek", lambda *words: peeks.append(words) or peek(*words)
    )
    for _ in range(3):
        publish(one, queue, "k", delivery_mode="transient")
    assert len(peeks) == 1
    Queue(queue, Exchange(queue), routing_key="k")(two.channel()).declare()

    def arrives():
        publish(one, queue, "k", delivery_mode="transient")
        return client.qlen(queue)

    until(arrives, 3)


def test_a_message_for_no_queue_can_have_another_exchange(one, client, queue):
    """The alternate exchange of its own, or the queue of the option deadletter_queue."""
    arguments = {"alternate-exchange": f"{queue}-else"}
    Exchange(queue, arguments=arguments)(one.channel()).declare()
    Queue(f"{queue}-rest", Exchange(f"{queue}-else", "fanout"))(one.channel()).declare()
    publish(one, queue, "k")
    assert client.qlen(f"{queue}-rest") == 1
    circle = {"alternate-exchange": f"{queue}-round"}
    Exchange(f"{queue}-round", arguments=circle)(one.channel()).declare()
    with pytest.raises(ChannelError, match=re.escape(f"'{queue}-round'")):
        publish(one, f"{queue}-round", "k")


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout"])
def test_a_queue_for_what_no_queue_gets(server, client, queue, kind):
    """The option deadletter_queue of kombu, for all types of exchanges."""
    with connection(server, deadletter_queue=f"{queue}-rest") as made:
        Exchange(queue, kind)(made.channel()).declare()
        publish(made, queue, "k")
    assert client.qlen(f"{queue}-rest") == 1


@pytest.mark.parametrize("key", ["", None])
def test_the_default_exchange_needs_a_queue(one, client, key):
    """A message without the name of a queue is refused."""
    with pytest.raises(ChannelError, match="the name of a queue"):
        publish(one, "", key)
    assert client.qlen("") == 0


NO_RECORDS = [
    b"junk",
    b"\xff\xfe",
    b"[" * 100_000,
    b"[1, 2]",
    b"{}",
    json.dumps({"queue": "x", "key": "k"}).encode(),
    Record(Binding("", "k", "direct"), removed=False, until=1).to_body().encode(),
    Record(Binding("x", "k", "headers"), removed=False, until=1).to_body().encode(),
    Record(Binding("\ud800", "k", "direct"), removed=False, until=1).to_body().encode(),
    Record(Binding("x", "k", "direct", life=-1), removed=False, until=1).to_body().encode(),
    Record(Binding("x", "k", "direct"), removed=False, until=10**400).to_body().encode(),
    Record(Binding("x", 5, "direct"), removed=False, until=1).to_body().encode(),
]


def test_what_is_no_binding_is_skipped(one, two, client, queue, caplog):
    """Each process logs it once, and producers can still publish."""
    for body in NO_RECORDS:
        client.add_job(queue_of(queue), body)
    Queue(queue, Exchange(queue), routing_key="k")(one.channel()).declare()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "pydisque.adapters.kombu"):
        for _ in range(3):
            publish(two, queue, "k")
    assert client.qlen(queue) == 3
    assert len([text for text in caplog.messages if "is no binding" in text]) == 1


def test_bindings_that_cannot_be_read_refuse_what_must_not_be_lost(client, one, queue, monkeypatch):
    """With too many of them, or without a node that replies, no queue gets the message."""
    Queue(queue, Exchange(queue), routing_key="k")(one.channel()).declare()
    client.add_job(queue_of(queue), "junk")
    monkeypatch.setattr(bindings, "MOST", 2)
    with pytest.raises(ChannelError, match="more than 2 bindings"):
        publish(one, queue, "k")
    publish(one, queue, "k", delivery_mode="transient")
    assert client.qlen(queue) == 1

    def fail(*_):
        raise RedisConnectionError

    monkeypatch.setattr(one.transport.disque, "qpeek", fail)
    with pytest.raises(RedisConnectionError):
        publish(one, queue, "k")
    assert client.qlen(queue) == 1


def test_a_binding_has_one_record(client, queue):
    """However many declare it, and those that two wrote at once become one."""
    bound = Binding(queue, "k", "direct")
    for _ in range(3):
        Bindings(client).declare(queue, bound)
    [job] = client.qpeek(queue_of(queue), 9)
    client.add_job(queue_of(queue), job.body, ttl=100)
    Bindings(client).declare(queue, bound)
    assert client.qlen(queue_of(queue)) == 1
    passing = Bindings(client)
    passing.declare(queue, Binding(f"{queue}-p", "k", "direct", lasting=False))
    for _ in range(3):
        passing.repeat()
    assert client.qlen(queue_of(queue)) == 2


def test_a_record_that_was_lost_or_is_old_is_written_again(client, queue, monkeypatch):
    """By the processes that consume; a node without a disk forgets them when it restarts."""
    ours, bound = Bindings(client), Binding(queue, "k", "direct")
    ours.declare(queue, bound)
    client.ack_job(*[job.id for job in client.qpeek(queue_of(queue), 9)])
    ours.repeat()
    [job] = client.qpeek(queue_of(queue), 9)
    later = Record.of_body(job.body, job.id).until - bindings.YEAR / 3
    monkeypatch.setattr(bindings.time, "time", lambda: later)
    ours.repeat()
    [new] = client.qpeek(queue_of(queue), 9)
    assert new.id != job.id


def test_a_record_that_somebody_takes_is_back_soon(client, queue):
    """It is not acknowledged by who only fetches it."""
    Bindings(client).declare(queue, Binding(queue, "k", "direct"))
    client.get_job([queue_of(queue)])
    until(lambda: client.qlen(queue_of(queue)) == 1, LASTS)


def test_the_worker_repeats_what_a_node_forgot(one, two, client, queue, monkeypatch):
    """While a connection consumes, its bindings are recorded again and again."""
    monkeypatch.setattr("pydisque.adapters.kombu.transport.REPEAT", 0.1)
    with one.Consumer(Queue(queue, Exchange(queue), routing_key="k")):
        client.ack_job(*[job.id for job in client.qpeek(queue_of(queue), 9)])
        until(lambda: client.qlen(queue_of(queue)) == 1)
        publish(two, queue, "k")
