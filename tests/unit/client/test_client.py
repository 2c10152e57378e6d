"""The client as people see it, on a node that plays along."""

from __future__ import annotations

import inspect
import pickle

import pytest
import redis

import pydisque
from pydisque import Client, DisqueError, Job, JobInfo
from pydisque.client import Client as ClientOfOldImports
from support.client_nodes import CERTIFICATE, FakeTLSNode, FakeUnixNode
from support.fake_node import FakeNode, array, bulk, job_info, on_wire, queue_stats

ID = b"D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1"
JOB = array(bulk(b"q"), bulk(ID), bulk(b"body"), bulk(b"nacks"), b":1\r\n", bulk(b"ad"), b":2\r\n")

ADD_JOB = (
    "queue_name, job, timeout=200, replicate=None, delay=None, retry=None, ttl=None, maxlen=None,"
    " asynchronous=None, **reserved"
)
PAUSE = (
    "queue_name, kw_in=None, kw_out=None, kw_all=None, kw_none=None, kw_state=None, kw_bcast=None"
)


@pytest.fixture
def node():
    with FakeNode() as node:
        yield node


@pytest.fixture
def client(node):
    with Client([node.address]) as client:
        yield client


def test_the_old_import_still_works():
    """`from pydisque.client import Client` is the import of the old client's users."""
    assert ClientOfOldImports is Client
    assert all(hasattr(pydisque, name) for name in pydisque.__all__)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ack_job", "*job_ids"),
        ("add_job", ADD_JOB),
        ("connect", ""),
        ("del_job", "*job_ids"),
        ("dequeue", "*job_ids"),
        ("enqueue", "*job_ids, uncounted=False"),
        ("execute_command", "*args, **options"),
        ("fast_ack", "*job_ids"),
        ("get_connection", ""),
        ("get_job", "queues, timeout=None, count=None, nohang=False, withcounters=False"),
        ("hello", ""),
        ("info", ""),
        ("jscan", "cursor=0, count=None, busyloop=None, queue=None, state=None, reply=None"),
        ("nack_job", "*job_ids, delay=None"),
        ("pause", PAUSE),
        ("qlen", "queue_name"),
        ("qpeek", "queue_name, count"),
        ("qscan", "cursor=0, count=None, busyloop=None, minlen=None, maxlen=None, importrate=None"),
        ("qstat", "queue_name, return_dict=False"),
        ("show", "job_id, return_dict=False"),
        ("working", "job_id"),
    ],
)  # fmt: skip
def test_signatures_of_the_old_client(client, name, parameters):
    """Every method has the signature documented for the old client, and says what it does."""
    method = getattr(client, name)
    signature = inspect.signature(method)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    assert ", ".join(map(str, bare)) == parameters
    assert method.__doc__
    assert method.__qualname__ == f"Client.{name}"


def test_the_result_is_in_the_signature(client):
    """help() shows what a method returns, not the command it is made of."""
    assert inspect.signature(client.qlen).return_annotation == "int"
    assert "Command" not in str(inspect.signature(Client.get_job))
    assert inspect.signature(client.pipeline().qlen).return_annotation == "Self"


def test_get_job_gives_tuples(node, client):
    """Jobs come as tuples of bytes, with two counters when asked for."""
    node.answers["GETJOB"] = array(JOB)
    assert client.get_job(["q"], withcounters=True) == [(b"q", ID, b"body", 1, 2)]


def test_decode_responses(node):
    """With decode_responses=True all text is str, the IDs too."""
    node.answers["GETJOB"] = array(JOB)
    node.answers["QSTAT"] = on_wire(queue_stats(name="é".encode()))
    with Client(node.address, decode_responses=True) as client:
        assert client.get_job(["q"], withcounters=True) == [("q", ID.decode(), "body", 1, 2)]
        assert client.qstat("q", return_dict=True)["name"] == "é"
        assert client.qstat("q").name == "é"
        assert isinstance(client.add_job("q", "b"), str)
        assert client.connected_node.node_id == node.id


def test_encoding(node):
    """Text is sent in the encoding asked for."""
    with Client(node.address, encoding="latin-1") as client:
        client.add_job("é", b"\xff")
    assert node.received[-1][1:3] == (b"\xe9", b"\xff")


def test_connected_node(node, client):
    """connected_node tells which node is in use, with a redis.Redis of its own."""
    assert client.connected_node is None
    client.connect()
    found = client.connected_node
    assert (found.node_id, found.host, found.port) == (node.id.encode(), "127.0.0.1", node.port)
    assert isinstance(found.connection, redis.Redis)
    assert client.get_connection() is found.connection
    assert found.connection.ping() is True
    assert node.count("CLIENT") == 0
    assert client.nodes == {node.address: found}
    assert repr(client) == f"<Client {node.address}>"


def test_redis_does_not_retry(node, client):
    """The redis.Redis handed out sends a command once."""
    client.connect()
    pool = client.get_connection().connection_pool
    assert pool.connection_kwargs["retry"]._retries == 0


def test_nothing_but_hello_is_said_on_opening(node, client):
    """A connection opens with HELLO alone: Disque knows no SELECT, no CLIENT SETINFO."""
    client.qlen("q")
    assert node.received == [(b"HELLO",), (b"QLEN", b"q")]


def test_password(node):
    """A password is sent before all else, with a user name only if there is one."""
    node.answers["AUTH"] = b"+OK\r\n"
    with Client(node.address, password="secret") as client:
        client.connect()
    with Client(f"disque://me:secret@{node.address}") as client:
        client.connect()
    auth = [command[1:] for command in node.received if command[0] == b"AUTH"]
    assert auth == [(b"secret",), (b"me", b"secret")]
    assert node.received[0] == (b"AUTH", b"secret")


def test_unix_socket(tmp_path, monkeypatch):
    """A node is reached through a Unix socket too."""
    with FakeUnixNode(str(tmp_path / "s")) as node, Client(f"unix:{node.path}") as client:
        assert client.ping() is True
        assert client.connected_node.host == node.path
        assert client.get_connection().ping() is True


def test_tls():
    """disques:// speaks TLS, checks the certificate, and uses the connection again."""
    with FakeTLSNode() as node:
        url = f"disques://localhost:{node.port}"
        with Client(url, ssl_ca_certs=str(CERTIFICATE)) as client:
            for _ in range(5):
                assert client.ping() is True
            assert client.add_job("q", "x" * 100_000).startswith(b"D-")
            assert node.connections == 1
        with (
            Client(url, deadline=0.0) as client,
            pytest.raises(redis.exceptions.ConnectionError, match="certificate"),
        ):
            client.ping()


def test_nodes_from_the_environment(node, monkeypatch):
    """Without nodes the environment says where they are, else localhost:7711."""
    monkeypatch.setenv("DISQUE_NODES", f"{node.address},disque://other:7712")
    assert list(Client().nodes) == [node.address, "other:7712"]
    monkeypatch.delenv("DISQUE_NODES")
    assert list(Client().nodes) == ["localhost:7711"]


def test_bad_options_are_refused_at_once():
    """An option nobody knows, or a node that is none, is refused before anything is opened."""
    with pytest.raises(TypeError, match="colour"):
        Client(["localhost:7711"], colour="red")
    with pytest.raises(ValueError, match="allowed are"):
        Client(["localhost:port"])


@pytest.mark.parametrize(
    ("words", "reply", "expected"),
    [
        (("PING",), b"+PONG\r\n", True),
        (("CONFIG GET", "port"), array(bulk(b"port"), bulk(b"7711")), {"port": "7711"}),
        (("CONFIG", "GET", "port"), array(bulk(b"port"), bulk(b"7711")), [b"port", b"7711"]),
        (("INFO",), bulk(b"# Server\r\nhz:10\r\n"), {"hz": 10}),
        (("TIME",), array(bulk(b"1"), bulk(b"2")), (1, 2)),
        (("QLEN", "q"), b":3\r\n", 3),
        (("getjob", "FROM", "q"), array(array(bulk(b"q"))), [[b"q"]]),
        (("GETJOB", "FROM", b"q"), b"*-1\r\n", None),
    ],
)
def test_execute_command(node, client, words, reply, expected):
    """execute_command gives what redis-py gave the old client: its own parsing, or none."""
    node.answers[words[0].split()[0]] = reply
    assert client.execute_command(*words) == expected


def test_error_replies(node, client):
    """An error reply is raised as a ResponseError of redis-py, and the connection goes on."""
    node.answers["QLEN"] = b"-ERR something is wrong\r\n"
    with pytest.raises(redis.exceptions.ResponseError, match=r"^something is wrong$") as caught:
        client.qlen("q")
    assert type(caught.value) is DisqueError
    assert client.ping() is True
    assert node.connections == 1


def test_an_answer_too_many_is_nobodys(node, client):
    """A node that answers twice does not make the next command take the second answer for its."""
    node.answers["QLEN"] = b":1\r\n:2\r\n"
    assert client.qlen("q") == 1
    assert client.ping() is True


def test_bad_arguments_are_not_sent(node, client):
    """What is refused never reaches the node."""
    for call in (
        lambda: client.add_job("q", "b", ttl=0),
        lambda: client.get_job([], count=0),
        lambda: client.add_job("q", "b", colour=True),
        lambda: client.iter_jobs(state="gone"),
        lambda: client.add_jobs("q", "body"),
        lambda: client.nack_job(ID, delay=-1),
        lambda: client.nack_job(ID, delay=1.5),
        lambda: client.execute_command("MONITOR"),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()
    assert node.received == []


def test_get_jobs(node, client):
    """get_jobs gives jobs that acknowledge themselves."""
    node.answers |= {"GETJOB": array(JOB), "NACK": b":1\r\n", "WORKING": b":300\r\n"}
    (job,) = client.get_jobs(["q"], count=5)
    assert job == (b"q", ID, b"body", 1, 2)
    assert (job.nacks, job.additional_deliveries) == (1, 2)
    assert (job.working(), job.nack(), job.ack()) == (300, 1, 1)
    assert [c[0] for c in node.received[-3:]] == [b"WORKING", b"NACK", b"ACKJOB"]
    assert job.nack(delay=60) == 1
    assert node.received[-1] == (b"NACK", ID, b"DELAY", b"60")
    assert type(pickle.loads(pickle.dumps(job))) is Job


def test_jobs(node, client):
    """jobs() asks again and again; leaving the loop puts back what was not given out."""
    node.answers |= {"GETJOB": array(JOB, JOB), "ENQUEUE": b":1\r\n"}
    for seen, job in enumerate(client.jobs("q", count=2)):
        assert job.ack() == 1
        if seen == 2:
            break
    assert (node.count("GETJOB"), node.count("ACKJOB")) == (2, 3)
    assert [c[1:] for c in node.received if c[0] == b"ENQUEUE"] == [(ID, b"UNCOUNTED")]
    with pytest.raises(ValueError, match="count"):
        client.jobs("q", count=0)


def test_a_node_that_is_gone_takes_nothing_back(node, client, caplog):
    """Jobs that cannot be put back are told of in the log, without their bodies."""
    node.answers["GETJOB"] = array(JOB)
    jobs = client.get_jobs(["q"])
    node.stop()
    client.put_back(jobs)
    assert "could not put back 1 job(s)" in caplog.text
    assert "body" not in caplog.text


def test_iterators(node, client):
    """The iterators follow the cursor to its end."""
    pages = {b"0": (b"7", b"a"), b"7": (b"0", b"b")}

    def scan(cursor, *_):
        following, name = pages[cursor]
        return array(bulk(following), array(bulk(name)))

    node.answers |= {"QSCAN": scan, "JSCAN": scan}
    assert list(client.iter_queues(minlen=0)) == [b"a", b"b"]
    assert list(client.iter_jobs("q")) == [b"a", b"b"]
    node.answers["JSCAN"] = on_wire([b"0", [job_info(id=ID)]])
    (info,) = client.iter_jobs(reply="all")
    assert isinstance(info, JobInfo)
    assert info.id == ID


def test_a_scan_begins_anew_on_another_node(node, client):
    """A cursor means nothing to another node, so a scan that moved begins again there."""
    with FakeNode() as other, Client([node.address, other.address]) as client:
        node.answers["QSCAN"] = array(bulk(b"7"), array(bulk(b"a")))
        other.answers["QSCAN"] = array(bulk(b"0"), array(bulk(b"b")))
        names = client.iter_queues()
        assert next(names) == b"a"
        node.stop()
        assert list(names) == [b"b", b"b"]
        assert [c[1] for c in other.received if c[0] == b"QSCAN"] == [b"7", b"0"]


def test_a_closed_client_connects_again(node, client):
    """close() closes the connections; the next command opens one."""
    client.qlen("q")
    client.close()
    assert client.connected_node is None
    assert client.qlen("q") == 0
    assert node.connections == 2


def test_idle_connections_are_used_again(node, client):
    """Commands one after another share one connection."""
    for _ in range(10):
        client.qlen("q")
    assert node.connections == 1
