"""Disque as a transport of kombu's, without Celery, on every kind of server."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
import warnings

import pytest
from kombu import Connection, Exchange, Queue
from kombu.common import Broadcast
from kombu.exceptions import OperationalError

from pydisque.adapters.kombu import consumer as intake
from pydisque.client import Client
from pydisque.dead_letters import DeadLetter
from pydisque.node import Server
from support.servers import free_port, serving, until
from support.tls import issue

server = serving("memory", "valkey", "disque", "disque-3")


def connection(*addresses, **options):
    options = {"retry": 2, **options}
    return Connection(f"disque://{','.join(addresses)}/", transport_options=options)


@pytest.fixture
def kombu(server):
    """A connection to each kind of server in turn."""
    with connection(*server.addresses) as made:
        yield made


@pytest.fixture
def line(kombu, queue):
    """A queue with a consumer."""
    simple = kombu.SimpleQueue(queue)
    yield simple
    simple.close()


@pytest.fixture
def client(server):
    """A client of the first node."""
    with Client(server.addresses[0]) as made:
        yield made


def test_what_is_put_in_comes_out(line, client, queue):
    """As it was, once."""
    line.put({"to": "ada", "body": "größer"})
    message = line.get(timeout=5)
    assert message.payload == {"to": "ada", "body": "größer"}
    assert not message.delivery_info.get("redelivered")
    message.ack()
    with pytest.raises(line.Empty):
        line.get(timeout=0.1)
    until(
        lambda: not [job for job in client.iter_jobs(queue, reply="all") if job.state != b"acked"]
    )


def test_what_is_requeued_comes_again(line):
    """At once, and says so."""
    line.put("again")
    line.get(timeout=5).requeue()
    message = line.get(timeout=5)
    assert message.delivery_info["redelivered"]
    message.ack()


def test_what_is_rejected_becomes_a_dead_letter(line, client, queue):
    """So is what is no message; both can be looked at, and the first put back."""
    line.put("bad")
    line.get(timeout=5).reject()
    client.add_job(queue, "hello")
    with pytest.raises(line.Empty):
        line.get(timeout=0.5)
    [first, second] = until(
        lambda: found if len(found := client.qpeek(f"{queue}:dead", 5)) == 2 else 0
    )
    assert DeadLetter.of_body(first.body).error == "rejected"
    assert json.loads(DeadLetter.of_body(first.body).body)["properties"]
    assert DeadLetter.of_body(second.body).body == b"hello"


NO_MESSAGES = [
    b"hello",
    b"[" * 100_000,
    b'{"body": "x", "properties": {"body_encoding": "rot13"}}',
    b'{"body": 5, "properties": {"body_encoding": "base64"}}',
    b'{"body": "x", "properties": {"body_encoding": ["base64"]}}',
    b'{"body": "x", "properties": {"delivery_info": 5}}',
]


@pytest.mark.parametrize("consuming", [True, False])
def test_whatever_is_no_message_becomes_a_dead_letter(kombu, client, queue, consuming):
    """However kombu stumbles over it, with a consumer or without: what comes behind it is had."""
    for body in NO_MESSAGES:
        client.add_job(queue, body)
    with kombu.Producer() as producer:
        producer.publish("good", routing_key=queue)
    if consuming:
        line = kombu.SimpleQueue(queue)
        message = line.get(timeout=5)
    else:
        message = Queue(queue)(kombu.channel()).get()
    assert message.payload == "good"
    message.ack()
    dead = until(
        lambda: found if len(found := client.qpeek(f"{queue}:dead", 9)) == len(NO_MESSAGES) else 0
    )
    letters = [DeadLetter.of_body(job.body) for job in dead]
    assert [letter.body for letter in letters] == NO_MESSAGES
    assert all(letter.error.startswith("this is no message of kombu: ") for letter in letters)
    assert not [job for job in client.iter_jobs(queue, reply="all") if job.state != b"acked"]


def test_a_message_without_delivery_info_comes_again(line, client, queue):
    """Whoever wrote it need not know of it."""
    body = {"body": "1", "content-type": "application/json", "content-encoding": "utf-8"}
    client.add_json(queue, body | {"properties": {"delivery_info": None}})
    line.get(timeout=5).requeue()
    message = line.get(timeout=5)
    assert (message.payload, message.delivery_info) == (1, {"redelivered": True})
    message.ack()


def test_what_ends_its_consumers_becomes_a_dead_letter(server, client, queue):
    """Its deliveries are counted though each consumer closed its connection in the end."""
    for body in ("bad", "good"):
        with connection(*server.addresses) as kombu, kombu.Producer() as producer:
            producer.publish(body, routing_key=queue)
    heard = []

    def hear(body, message):
        heard.append(body)
        if body == "bad":
            raise KeyError(body)
        message.ack()

    def consume():
        options = {"max_additional_deliveries": 1, "retry": 1}
        with (
            connection(*server.addresses, **options) as kombu,
            kombu.Consumer(Queue(queue), callbacks=[hear], prefetch_count=1),
        ):
            kombu.drain_events(timeout=0.5)

    def is_dead():
        with contextlib.suppress(KeyError, TimeoutError):
            consume()
        return client.qpeek(f"{queue}:dead", 1)

    [letter] = until(is_dead, 20)
    assert "ended its workers" in DeadLetter.of_body(letter.body).error
    assert sorted(heard) == ["bad", "bad", "good"]


@pytest.mark.parametrize("consuming", [True, False])
def test_what_is_requeued_without_end_becomes_a_dead_letter(server, client, queue, consuming):
    """Its nacks count through new connections; without a limit it is requeued for ever."""
    address = server.addresses[0]
    with connection(address) as kombu, kombu.Producer() as producer:
        producer.publish("bad", routing_key=queue)

    def requeue(limit):
        with connection(address, delivery_limit=limit) as kombu:
            line = kombu.SimpleQueue(queue)
            bound = Queue(queue)(kombu.channel())
            message = line.get(timeout=5) if consuming else until(bound.get)
            message.requeue()

    for limit in (3, 3, None, None, 3):
        requeue(limit)
    [letter] = until(lambda: client.qpeek(f"{queue}:dead", 2))
    reason = "requeued after each of 5 deliveries, where delivery_limit is 3"
    assert DeadLetter.of_body(letter.body).error == reason
    until(lambda: client.qlen(queue) == 0)


def test_what_is_rejected_without_a_consumer_becomes_a_dead_letter(kombu, client, queue):
    """And what is requeued comes again."""
    bound = Queue(queue)(kombu.channel())
    with kombu.Producer() as producer:
        producer.publish("bad", routing_key=queue)
    bound.get().requeue()
    message = until(bound.get)
    assert message.delivery_info["redelivered"]
    message.reject()
    [letter] = client.qpeek(f"{queue}:dead", 2)
    assert DeadLetter.of_body(letter.body).error == "rejected"
    assert bound.get() is None


def test_what_nobody_acknowledged_goes_back(kombu, client, queue):
    """When the connection is closed, at once."""
    line = kombu.SimpleQueue(queue)
    line.put(1)
    line.put(2)
    line.get(timeout=5)
    until(lambda: client.qlen(queue) == 0)
    kombu.close()
    until(lambda: client.qlen(queue) == 2)


def test_waiting_ends_in_time(line):
    """A wait for a message takes as long as it may, and no longer."""
    begun = time.monotonic()
    with pytest.raises(line.Empty):
        line.get(timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < 1


def test_a_message_can_be_had_without_a_consumer(kombu, client, queue):
    """One at a time; what is not answered for goes back when the channel is closed."""
    channel = kombu.channel()
    bound = Queue(queue)(channel)
    bound.declare()
    with kombu.Producer() as producer:
        for body in ("a", "b", "c"):
            producer.publish(body, routing_key=queue)
    assert bound.get().payload == "a"
    bound.get().ack()
    bound.get(no_ack=True)
    assert bound.get() is None
    channel.close()
    until(lambda: client.qlen(queue) == 1)


def test_purging_ends_what_waits(kombu, client, queue):
    """Of a paused queue, too; it says how many there were."""
    channel = kombu.channel()
    bound = Queue(queue, max_priority=2)(channel)
    bound.declare()
    with kombu.Producer() as producer:
        for priority in (0, 1, 2, 9):
            producer.publish("x", routing_key=queue, priority=priority)
    client.pause(queue, kw_out=True)
    assert channel.queue_declare(queue).message_count == 4
    assert (client.qlen(queue), client.qlen(f"{queue}:p1"), client.qlen(f"{queue}:p2")) == (1, 1, 2)
    assert bound.purge() == 4
    assert client.qlen(queue) == 0
    client.pause(queue, kw_none=True)


def test_everybody_gets_what_is_broadcast(server, queue):
    """Queues of several connections that are bound to one exchange, as long as they are there."""
    address = server.addresses[0]  # in a cluster only those on one node hear each other
    exchange = Exchange(queue, type="fanout", durable=False)
    heard = []
    with connection(address) as one, connection(address) as two, connection(address) as speaker:
        consumers = []
        for number, each in enumerate((one, two)):
            bound = Queue(f"{queue}-{number}", exchange, exclusive=True)
            consumer = each.Consumer(bound, no_ack=True)
            consumer.register_callback(lambda body, _, n=number: heard.append((n, body)))
            consumers.append(consumer)
            consumer.consume()
        with speaker.Producer() as producer:
            producer.publish("hear", exchange=exchange, declare=[exchange])
            for each in (one, two):
                each.drain_events(timeout=5)
            consumers[1].cancel()
            producer.publish("again", exchange=exchange)
            one.drain_events(timeout=5)
        with pytest.raises(socket.timeout):
            two.drain_events(timeout=0.2)
    assert heard == [(0, "hear"), (1, "hear"), (0, "again")]


@pytest.mark.parametrize(
    ("declared", "life"),
    [({}, 1000), ({"expires": 70, "message_ttl": 5000}, 1000), ({"expires": 70}, 70)],
)
def test_what_is_broadcast_waits_for_a_busy_consumer(server, client, queue, declared, life):
    """As long as any message, or as the queue declares; not as long as an announcement."""
    address = server.addresses[0]
    broadcast = Broadcast(queue, queue=f"{queue}-mine", **declared)
    with (
        connection(address) as listener,
        listener.Consumer(broadcast, prefetch_count=1),
        connection(address, ttl=1000) as speaker,
        speaker.Producer() as producer,
    ):
        for number in range(3):
            producer.publish(number, exchange=broadcast.exchange)
        jobs = list(client.iter_jobs(broadcast.name, reply="all"))
    assert [life - 5 <= job.ttl <= life for job in jobs] == [True] * 3


def test_keys_are_matched(kombu, queue):
    """By topics, with wildcards."""
    exchange = Exchange(queue, type="topic")
    bound = Queue(queue, exchange, routing_key="log.*.error")
    with kombu.Producer() as producer, kombu.Consumer(bound, no_ack=True) as consumer:
        heard = []
        consumer.register_callback(lambda body, _: heard.append(body))
        for key in ("log.a.info", "log.a.error", "web.a.error"):
            producer.publish(key, exchange=exchange, routing_key=key, delivery_mode="transient")
        kombu.drain_events(timeout=5)
        with pytest.raises(socket.timeout):
            kombu.drain_events(timeout=0.2)
        assert heard == ["log.a.error"]


def test_a_child_leaves_the_parents_messages_alone(line, queue, client):
    """What a fork gets of a connection it can close; the parent's goes on."""
    line.put(1)
    message = line.get(timeout=5)
    with warnings.catch_warnings(action="ignore"):  # that there are threads is the point
        child = os.fork()
    if not child:
        line.channel.connection.client.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert client.qlen(queue) == 0
    message.ack()
    line.put(2)
    assert line.get(timeout=5).payload == 2


def test_a_child_can_consume_by_its_parents_connection(line, queue):
    """It fetches in a thread of its own, and leaves what the parent has not acknowledged alone."""
    line.put(1)
    message = line.get(timeout=5)
    heard, says = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # that there are threads is the point
        child = os.fork()
    if not child:
        with contextlib.suppress(Exception):
            message.ack()
            os.write(says, b"%d" % line.get(timeout=5).payload)
        os._exit(0)
    line.consumer.cancel()
    line.put(2)
    os.waitpid(child, 0)
    os.close(says)
    assert os.read(heard, 9) == b"2"
    os.close(heard)
    message.requeue()


def test_the_next_node_is_used_when_one_is_away(disque_server):
    """However the nodes are given: in one URL, or as kombu separates several."""
    gone = f"127.0.0.1:{free_port()}"
    for url in (
        f"disque://{gone},{disque_server.address}/",
        f"disque://{gone};disque://{disque_server.address}",
    ):
        with Connection(url) as made:
            made.SimpleQueue("q").put(1)
    with Client(disque_server.address) as client:
        assert client.qlen("q") == 2


def test_without_a_node_it_is_kombus_own_error():
    """So that programs which know kombu catch it."""
    made = connection(f"127.0.0.1:{free_port()}", client={"deadline": 0.1})
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1"):
        made.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def test_a_password_and_tls(tmp_path):
    """Both stand in the URL; what else TLS needs is given as Celery gives it."""
    files = issue(tmp_path)
    secret = "p@ss:word/,"
    with Server(
        tls_cert=files["node.pem"], tls_key=files["node.key"], requirepass=secret
    ) as server:
        url = f"disques://:p%40ss%3Aword%2F%2C@{server.address}/"
        with Connection(url, ssl={"ssl_ca_certs": files["ca.pem"]}) as made:
            assert "word" not in made.as_uri()
            line = made.SimpleQueue("q")
            line.put("secret")
            assert line.get(timeout=5).payload == "secret"
            line.close()


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_green_threads_are_refused(monkeypatch, library):
    """The engine's loop would stop them all."""
    monkeypatch.setattr(intake, "detect_environment", lambda: library)
    with pytest.raises(RuntimeError, match=f"under {library}"):
        intake.Engine()


def test_producers_may_be_green(monkeypatch, disque_server):
    """Without select.poll, which eventlet removes, a connection sends and is refused to consume."""
    monkeypatch.delattr(select, "poll")
    monkeypatch.setattr(intake, "detect_environment", lambda: "eventlet")
    with connection(disque_server.address) as kombu:
        line = kombu.SimpleQueue("green")
        line.put(1)
        with pytest.raises(RuntimeError, match="under eventlet"):
            line.get(timeout=1)
    with Client(disque_server.address) as client:
        assert client.qlen("green") == 1
