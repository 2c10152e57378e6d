"""What programs written for pydisque 0.1.5 rely on, on every kind of server.

Types as the old client gave them: plain lists, tuples, bytes and numbers.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

import pytest
import redis

import pydisque.client
from pydisque.client import Client
from support.servers import Deployment

NO_SUCH_JOB = "D-00000000-000000000000000000000000-05a1"


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    """A client as old programs make it."""
    client = Client(server.addresses)
    client.connect()
    yield client
    client.close()


SIGNATURES = {
    "ack_job": "(*job_ids)",
    "add_job": "(queue_name, job, timeout=200, replicate=None, delay=None, retry=None, ttl=None,"
    " maxlen=None, asynchronous=None, **reserved)",
    "connect": "()",
    "del_job": "(*job_ids)",
    "dequeue": "(*job_ids)",
    "enqueue": "(*job_ids, uncounted=False)",
    "execute_command": "(*args, **options)",
    "fast_ack": "(*job_ids)",
    "get_connection": "()",
    "get_job": "(queues, timeout=None, count=None, nohang=False, withcounters=False)",
    "hello": "()",
    "info": "()",
    "jscan": "(cursor=0, count=None, busyloop=None, queue=None, state=None, reply=None)",
    "nack_job": "(*job_ids, delay=None)",
    "pause": "(queue_name, kw_in=None, kw_out=None, kw_all=None, kw_none=None, kw_state=None,"
    " kw_bcast=None)",
    "qlen": "(queue_name)",
    "qpeek": "(queue_name, count)",
    "qscan": "(cursor=0, count=None, busyloop=None, minlen=None, maxlen=None, importrate=None)",
    "qstat": "(queue_name, return_dict=False)",
    "show": "(job_id, return_dict=False)",
    "working": "(job_id)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    """Every method takes the documented parameters, in their order, with their defaults."""
    signature = inspect.signature(getattr(pydisque.client.Client, name))
    _, *parameters = signature.parameters.values()
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]


def test_a_job_there_and_back(client, queue):
    """A JSON body is received as bytes in a tuple of queue, ID and body, and acknowledged."""
    sent = json.dumps(["print", "hello", "world", 1.5])
    job_id = client.add_job(queue, sent, timeout=100)
    assert isinstance(job_id, bytes)
    jobs = client.get_job([queue])
    assert isinstance(jobs, list)
    for queue_name, received_id, body in jobs:
        assert (queue_name, received_id) == (queue.encode(), job_id)
        assert json.loads(body) == ["print", "hello", "world", 1.5]
        client.ack_job(received_id)
    assert client.get_job([queue], timeout=100) == []


def test_every_option_of_add_job(client, queue):
    """Options are taken by name and by position, and the reserved word through a dict."""
    by_name = client.add_job(
        queue, "1", timeout=100, replicate=1, delay=0, retry=60, ttl=3600, maxlen=100
    )
    by_place = client.add_job(queue, "2", 100, 1, None, 60, 3600, 100, True)
    reserved = client.add_job(queue, "3", **{"async": True})
    found = [job_id for _, job_id, _ in client.get_job([queue], count=3)]
    assert found == [by_name, by_place, reserved]


def test_numbers_as_text(client, queue):
    """A number that was read somewhere as text is as good as the number."""
    job_id = client.add_job(queue, "body", timeout="100", delay="0", ttl="3600", retry=b"60")
    assert client.show(job_id, True)[b"retry"] == 60
    assert len(client.get_job([queue], timeout="100", count="10")) == 1


def test_given_back(client, queue):
    """A job given back is received again, and then acknowledged for good."""
    job_id = client.add_job(queue, "body")
    for finish in (client.nack_job, client.ack_job):
        ((_, received, body),) = client.get_job([queue])
        assert (received, body) == (job_id, b"body")
        finish(received)
    assert client.get_job([queue], timeout=100) == []


def test_with_counters(client, queue):
    """Counters make a tuple of five."""
    job_id = client.add_job(queue, "body")
    assert client.get_job([queue], withcounters=True) == [(queue.encode(), job_id, b"body", 0, 0)]


def test_jobs_are_tuples(client, queue):
    """A job is a tuple to isinstance, can be a key, sorted, sliced and put into JSON."""
    client.add_job(queue, "body")
    (job,) = client.get_job([queue])
    assert isinstance(job, tuple)
    assert {job: 1}[tuple(job)] == 1
    assert job[2] == job[-1] == b"body"
    assert json.loads(json.dumps([part.decode() for part in job]))[0] == queue


def test_qpeek(client, queue):
    """Each job seen has its ID in the second place."""
    job_id = client.add_job(queue, "Peek A Boo")
    peeked = client.qpeek(queue, 1)
    assert peeked[0][1] == job_id
    assert list(peeked[0]) == [queue.encode(), job_id, b"Peek A Boo"]


def test_qscan(client, queue):
    """A cursor that is true and a list of names as bytes."""
    names = [f"{queue}-{n}" for n in range(2)]
    for name in names:
        client.add_job(name, "body", timeout=100)
    cursor, found = client.qscan(busyloop=True)
    assert cursor == b"0"
    assert {name.encode() for name in names} <= set(found)


def jscan_all(client, **options):
    """All that a scan returns: our node ends a BUSYLOOP after 10,000 jobs with a cursor."""
    cursor, found = client.jscan(busyloop=True, **options)
    while int(cursor):
        cursor, more = client.jscan(cursor, busyloop=True, **options)
        found += more
    return found


def test_jscan(client, queue):
    """A list of cursor and IDs; with reply all, of flat lists; a state is given as a list."""
    job_id = client.add_job(queue, "body", timeout=100)
    assert jscan_all(client, queue=queue, count=1000) == [job_id]
    assert jscan_all(client, queue=queue, state=["queued"]) == [job_id]
    assert jscan_all(client, queue=queue, state=["active"]) == []
    (job,) = jscan_all(client, queue=queue, reply="all")
    assert job[:4] == [b"id", job_id, b"queue", queue.encode()]


def test_del_job(client, queue):
    """A deleted job is seen no more."""
    job_id = client.add_job(queue, "body")
    client.del_job(job_id)
    assert client.qpeek(queue, 1) == []


def test_fast_ack(client, queue):
    """A job can be deleted everywhere."""
    job_id = client.add_job(queue, "body")
    client.fast_ack(job_id)
    assert client.qlen(queue) == 0


def test_qlen(client, queue):
    """The length is an int."""
    for _ in range(100):
        client.add_job(queue, "Useless Job.")
    assert client.qlen(queue) == 100


def test_qstat(client, queue):
    """A flat list that holds the names as bytes, or a plain dict of them."""
    for body in ("a", "b", "c"):
        client.add_job(queue, body)
    stat = client.qstat(queue)
    assert isinstance(stat, list)
    assert b"jobs-in" in stat
    assert stat[stat.index(b"jobs-in") + 1] == 3
    as_dict = client.qstat(queue, True)
    assert type(as_dict) is dict
    assert (as_dict[b"jobs-in"], as_dict[b"jobs-out"], as_dict[b"len"]) == (3, 0, 3)


def test_show(client, queue):
    """Likewise for a job."""
    job_id = client.add_job(queue, "Show me.")
    ((_, received, _),) = client.get_job([queue])
    client.nack_job(received)
    shown = client.show(job_id, True)
    assert type(shown) is dict
    assert (shown[b"body"], shown[b"nacks"]) == (b"Show me.", 1)
    flat = client.show(job_id)
    assert flat[:2] == [b"id", job_id]
    assert flat[flat.index(b"state") + 1] == b"queued"


def test_enqueue_and_dequeue(client, queue):
    """Both return a count, and the length follows."""
    job_id = client.add_job(queue, "body")
    assert client.dequeue(job_id) == 1
    assert client.qlen(queue) == 0
    assert client.enqueue(job_id) == 1
    assert client.qlen(queue) == 1


def test_working(client, queue):
    """The seconds won, as an int."""
    job_id = client.add_job(queue, "body", retry=60)
    client.get_job([queue])
    assert client.working(job_id) == 60


def test_pause(client, queue):
    """A paused queue refuses jobs with a ResponseError until it goes on."""
    assert client.pause(queue, kw_in=True) == b"in"
    with pytest.raises(redis.exceptions.ResponseError, match="PAUSED"):
        client.add_job(queue, "body")
    assert client.pause(queue, kw_state=True) == b"in"
    assert client.pause(queue, kw_none=True) == b"none"
    job_id = client.add_job(queue, "body")
    assert client.get_job([queue])[0][1] == job_id


def test_hello_and_info(client):
    """HELLO is a list, INFO a dict with str keys, as redis-py makes them."""
    version, node_id, *nodes = client.hello()
    assert version == 1
    assert node_id in [node[0] for node in nodes]
    assert client.info()["registered_jobs"] >= 0


def test_errors(client):
    """An error reply is a redis ResponseError whose text begins with its word."""
    with pytest.raises(redis.exceptions.ResponseError, match=r"^BADID"):
        client.ack_job("bad")
    with pytest.raises(redis.exceptions.ResponseError, match=r"^NOJOB"):
        client.working(NO_SUCH_JOB)


def test_the_connected_node(client, server):
    """connected_node has the node's ID, host, port, and its redis connection."""
    node = client.connected_node
    assert f"{node.host}:{node.port}" == server.addresses[0]
    assert node.node_id == client.hello()[1]
    assert client.get_connection() is node.connection
    assert isinstance(node.connection, redis.Redis)
    assert node.connection.execute_command("PING")


def test_raw_commands(client, queue):
    """execute_command answers as the connection does."""
    job_id = client.execute_command("ADDJOB", queue, "body", 100)
    assert client.execute_command("QLEN", queue) == 1
    assert client.execute_command("ACKJOB", job_id) == 1


def test_no_node_at_all():
    """No reachable node is a ConnectionError of redis; before connecting there is no connection."""
    client = Client(["127.0.0.1:1", "127.0.0.1:2"])
    with pytest.raises(redis.exceptions.ConnectionError):
        client.get_connection()
    with pytest.raises(redis.exceptions.ConnectionError):
        client.connect()
    assert client.connected_node is None


def test_nodes_are_remembered(client, server):
    """nodes is a dict by the addresses given."""
    assert list(client.nodes)[: len(server.addresses)] == server.addresses
    assert client.nodes[server.addresses[0]] == client.connected_node


def test_options_of_the_connection(server, queue):
    """Keywords go to redis-py: decoding, timeouts, a password that nobody asked for is refused."""
    with Client(server.addresses, decode_responses=True, socket_timeout=5) as client:
        job_id = client.add_job(queue, "body")
        assert client.get_job([queue]) == [(queue, job_id, "body")]
    with Client(server.addresses, password="wrong", deadline=0) as client:  # noqa: SIM117
        with pytest.raises(redis.exceptions.RedisError, match="AUTH"):
            client.connect()
