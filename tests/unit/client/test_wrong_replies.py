"""Replies of the wrong shape: a `DisqueError` that names the command, whatever came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from pydisque import AsyncClient, Client, dead_letters
from pydisque.cli import main
from pydisque.client.failover import Call
from pydisque.errors import DisqueError, UnexpectedReplyError, UnreachableError
from pydisque.monitoring.monitor import Survey
from pydisque.protocol import commands
from pydisque.protocol.command import Command
from pydisque.protocol.replies import shape
from support.fake_node import FakeNode, array, bulk, job_info, on_wire, queue_stats

ID = b"D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1"
SECRET = b"payload-of-a-job"

COMMANDS: list[Command[Any]] = [
    commands.add_job("q", "b"),
    commands.get_job(["q"], nohang=True),
    commands.get_job(["q"], nohang=True, withcounters=True),
    commands.ack_job(ID),
    commands.fast_ack(ID),
    commands.nack_job(ID),
    commands.working(ID),
    commands.enqueue(ID),
    commands.dequeue(ID),
    commands.del_job(ID),
    commands.show(ID),
    commands.show(ID, return_dict=True),
    commands.qlen("q"),
    commands.qstat("q"),
    commands.qstat("q", return_dict=True),
    commands.qpeek("q", 1),
    commands.pause("q", kw_state=True),
    commands.qscan(),
    commands.jscan(),
    commands.jscan(reply="id"),
    commands.jscan(reply="all"),
    commands.hello(),
    commands.info(),
    commands.ping(),
]


def nested(depth: int) -> bytes:
    return b"*1\r\n" * depth + b":1\r\n"


LARGEST = (1 << 63) - 1
HUGE_JOB = job_info(
    ttl=LARGEST, ctime=LARGEST, delay=LARGEST, retry=LARGEST, nacks=LARGEST,
    next_requeue_within=LARGEST, next_awake_within=-LARGEST,
)  # fmt: skip

# Each is one well-formed reply of RESP2 or RESP3.
WRONG: dict[str, bytes] = {
    "nil": b"$-1\r\n",
    "nil array": b"*-1\r\n",
    "null": b"_\r\n",
    "integer": b":7\r\n",
    "negative": b":-1\r\n",
    "largest": b":9223372036854775807\r\n",
    "huge": b"(123456789012345678901234567890\r\n",
    "digits": bulk(b"9" * 5000),
    "double": b",1.5\r\n",
    "infinite": b",inf\r\n",
    "true": b"#t\r\n",
    "empty text": bulk(b""),
    "text": bulk(SECRET),
    "status": b"+" + SECRET + b"\r\n",
    "not UTF-8": bulk(b"\xff\xfe" + SECRET),
    "empty array": b"*0\r\n",
    "nested": nested(5),
    "empty in it": array(array()),
    "two texts": array(bulk(SECRET), bulk(SECRET)),
    "three texts": array(bulk(b"abc"), bulk(SECRET), bulk(b"abc")),
    "integers": array(b":1\r\n", b":2\r\n", b":3\r\n"),
    "one short row": array(array(bulk(b"q"), bulk(ID))),
    "row of four": array(array(bulk(b"q"), bulk(ID), bulk(b"b"), b":1\r\n")),
    "row of wrong kinds": array(array(bulk(b"q"), b":1\r\n", bulk(b"b"))),
    "row with nil": array(array(bulk(b"q"), bulk(ID), b"$-1\r\n")),
    "counters are texts": array(array(*[bulk(SECRET)] * 7)),
    "row of text": array(bulk(b"abc")),
    "error in it": array(b"-ERR " + SECRET + b"\r\n", b"-ERR x\r\n"),
    "error in a row": array(array(bulk(b"q"), b"-ERR x\r\n", bulk(b"b"))),
    "page without end": array(bulk(b"x"), array()),
    "page with nil": array(b"$-1\r\n", array()),
    "page of nil": array(bulk(b"0"), b"$-1\r\n"),
    "page of integers": array(bulk(b"0"), array(b":1\r\n")),
    "page of errors": array(bulk(b"0"), array(b"-ERR x\r\n")),
    "long cursor": array(bulk(b"9" * 5000), array()),
    "page of wrong jobs": array(bulk(b"0"), array(array(bulk(b"id"), b":1\r\n"))),
    "map": b"%1\r\n+a\r\n:1\r\n",
    "map of arrays": b"%1\r\n*0\r\n:1\r\n",
    "push": b">2\r\n+a\r\n:1\r\n",
    "set": b"~1\r\n+a\r\n",
    "odd fields": on_wire([b"id", ID, b"queue"]),
    "some fields": on_wire([b"id", ID, b"name", b"q"]),
    "names that are none": on_wire([1, 2, None, 3]),
    "job without queue": on_wire(job_info(queue=None)),
    "job of wrong kinds": on_wire(job_info(ttl=b"x")),
    "queue of wrong kinds": on_wire(queue_stats(len=b"x")),
    "queue with a wrong pause": on_wire(queue_stats(pause=b"perhaps")),
    "job of huge numbers": on_wire(HUGE_JOB),
    "page of huge jobs": on_wire([b"0", [HUGE_JOB]]),
    "queue of huge numbers": on_wire(
        queue_stats(len=-(1 << 63), age=LARGEST, idle=LARGEST, blocked=LARGEST, jobs_in=LARGEST)
    ),
    "wrong figures": bulk(b"registered_jobs:x\r\nuptime_in_seconds:1,2\r\nused_memory:1.5"),
    "huge figures": bulk(b"registered_jobs:%d\r\nuptime_in_seconds:%d" % (10**40, 10**40)),
    "hello of no node": on_wire([1, ID, [b"id", b"host"]]),
    "hello with a wrong port": on_wire([1, ID, [b"id", b"host", b"99999", b"1"]]),
    "hello with a text for a port": on_wire([1, ID, [b"id", b"host", b"x", b"1"]]),
    "hello that is not UTF-8": on_wire([1, b"\xff", [b"\xff", b"\xff", b"1", b"1"]]),
    "hello of integers": on_wire([1, 2, [1, 2, 3, 4]]),
}

ANY = st.recursive(
    st.none() | st.integers() | st.floats() | st.booleans() | st.text() | st.binary()
    | st.just(DisqueError("x")) | st.sampled_from([b"0", ID, b"id", b"queue", b"len"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.binary(), inner),
    max_leaves=20,
)  # fmt: skip


@pytest.fixture
def node():
    """A node whose replies can be scripted, and that is asked for nothing by itself."""
    with FakeNode() as node:
        yield node


def name_of(command: Command[Any]) -> str:
    return " ".join(arg if isinstance(arg, str) else "…" for arg in command.args)


@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "str"])
@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
async def test_every_way_to_send_raises_the_same(node, command, decode):
    """Both clients and their pipelines return a result or raise, and say the same of a reply."""
    for kind, reply in WRONG.items():
        with Client(node.address, decode_responses=decode, deadline=0.1) as client:
            client.connect()
            node.answers[command.name] = reply
            outcomes = [
                outcome_of(lambda: client._transport.run(command)),
                *client._transport.run_all([command]),
            ]
        node.answers.pop(command.name)
        async with AsyncClient(node.address, decode_responses=decode, deadline=0.1) as client:
            await client.connect()
            node.answers[command.name] = reply
            try:
                outcomes.append(await client._transport.run(command))
            except Exception as error:  # noqa: BLE001
                outcomes.append(error)
            outcomes += await client._transport.run_all([command])
        for outcome in outcomes:
            if command.name == "HELLO" and isinstance(outcome, UnreachableError):
                continue  # a connection was to be made anew
            assert repr(outcome) == repr(outcomes[0]), kind
            check(command, outcome)
        node.answers.pop(command.name)


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001
        return error


def check(command: Command[Any], outcome: Any) -> None:
    if isinstance(outcome, Exception):
        assert type(outcome) is UnexpectedReplyError, outcome
        assert str(outcome).startswith(f"{command.name}: unexpected reply: ")
        assert SECRET.decode() not in str(outcome)
        assert len(str(outcome)) < 500


@given(st.sampled_from(COMMANDS), ANY)
def test_any_reply_is_read_or_refused(command, reply):
    """No reply makes a command raise anything else, and none is shown in the error."""
    call = Call(command)
    call.answer(reply)
    outcome = call.result_or_error()
    if outcome is not reply:
        check(command, outcome)


@pytest.mark.parametrize("words", [("INFO",), ("TIME",), ("CONFIG GET", "x"), ("HGETALL", "x")])
def test_callbacks_of_redis_too(words, node):
    """What redis-py's own callbacks make of a reply is no other error either."""
    with Client(node.address) as client:
        for reply in WRONG.values():
            node.answers[words[0].split()[0]] = reply
            outcome = outcome_of(lambda: client.execute_command(*words))
            assert not isinstance(outcome, Exception) or isinstance(outcome, UnexpectedReplyError)


def test_the_rest_of_a_pipeline_is_kept(node):
    """One reply of the wrong shape stands in its place; the others are what they are."""
    node.answers |= {"QSTAT": b":1\r\n"}
    with Client(node.address) as client:
        results = client.pipeline().qlen("q").qstat("q").ping().execute(raise_on_error=False)
        assert results[::2] == [0, True]
        assert isinstance(results[1], UnexpectedReplyError)
        with pytest.raises(DisqueError, match="QSTAT"):
            client.pipeline().qlen("q").qstat("q").execute()


@pytest.mark.parametrize("kind", sorted(WRONG))
async def test_a_node_that_says_hello_wrongly_is_none(node, kind):
    """At connect it is a node that cannot be used, for which another one is."""
    node.answers["HELLO"] = WRONG[kind]
    with FakeNode() as other:
        addresses = [node.address, other.address]
        with Client(addresses) as client:
            assert client.ping() is True
            assert client.connected_node.port == other.port
        async with AsyncClient(addresses) as client:
            assert await client.ping() is True
    with Client(node.address, deadline=0) as client, pytest.raises(RedisError, match=r"HELLO|node"):
        client.ping()


@pytest.mark.parametrize("kind", sorted(WRONG))
async def test_jobs_are_followed_all_the_same(node, kind):
    """A client that follows its jobs, and one whose call was cancelled, look into replies too."""
    node.answers["GETJOB"] = WRONG[kind]
    words = ("GETJOB", "NOHANG", "FROM", "q")
    with Client(node.address, follow_jobs=True) as client:
        outcome = outcome_of(lambda: client.execute_command(*words))
        assert not isinstance(outcome, Exception) or isinstance(outcome, UnexpectedReplyError)
    async with AsyncClient(node.address) as client:
        await client.ping()
        task = asyncio.create_task(client.get_job(["q"], nohang=True))
        await asyncio.to_thread(node.wait_for, "GETJOB", 2)
        task.cancel()
        await asyncio.wait([task])
        assert await client.ping() is True


NAMES = ("SHOW", "QSTAT", "QSCAN", "JSCAN", "QPEEK", "INFO", "QLEN", "ADDJOB", "ACKJOB", "PAUSE")


def scripted(node: FakeNode) -> dict[str, bytes]:
    """Right replies, each of which a test replaces by a wrong one."""
    return {
        "SHOW": on_wire(job_info(queue=b"q:dead")), "QSTAT": on_wire(queue_stats()),
        "QSCAN": on_wire([b"0", [b"q", b"q:dead"]]), "JSCAN": on_wire([b"0", [ID]]),
        "QPEEK": on_wire([[b"q", ID, b"x"]]), "INFO": bulk(b"registered_jobs:1\r\n"),
        "PAUSE": b"+none\r\n",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_surveys_and_dead_letters(node, name):
    """What is made of several commands raises nothing else, or tells it of the node."""
    for kind, reply in WRONG.items():
        node.answers = scripted(node) | {name: reply}
        with Client(node.address, deadline=0) as client:
            for work in (
                lambda: dead_letters.dead_queues(client),
                lambda: dead_letters.peek(client, "q:dead", 3),
                lambda: list(dead_letters.select(client, "q:dead")),
                lambda: list(client.iter_jobs(reply="all")),
                lambda: next(client.jobs("q", timeout=1), None),
            ):
                outcome = outcome_of(work)
                assert not isinstance(outcome, Exception) or isinstance(outcome, RedisError), kind
        survey = Survey([node.address])
        try:
            await survey.look()
        except RedisError:
            pass
        finally:
            await survey.aclose()


@pytest.mark.parametrize(
    "words",
    [
        ["queues"], ["stats"], ["stats", "q"], ["jobs", "q"], ["show", ID.decode()], ["peek", "q"],
        ["info"], ["hello"], ["ping"], ["dead", "list"], ["dead", "replay", "--queue", "q"],
        ["ack", ID.decode()], ["add", "q", "b"], ["pause", "q"], ["get", "q", "--ack"],
        ["purge", "q", "--yes"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_command_line_says_it_in_one_line(node, words):
    """No reply ends a command in a traceback."""
    node.answers = scripted(node)
    invoke(node, words)
    asked = {name.decode() for name, *_ in node.received} - {"HELLO", "AUTH"}
    for name in asked:
        for kind in ("nil", "integer", "text", "nested", "page of integers", "map", "not UTF-8",
                     "job of huge numbers", "page of huge jobs", "queue of huge numbers",
                     "wrong figures", "huge figures"):  # fmt: skip
            node.answers = scripted(node) | {name: WRONG[kind]}
            error = invoke(node, words).exception
            assert error is None or isinstance(error, SystemExit), (name, kind, repr(error))


def invoke(node: FakeNode, words: list[str]) -> Result:
    return CliRunner().invoke(main, [*words, "--nodes", node.address])


def test_shapes_are_short():
    """The description of a reply is bounded and holds none of its text."""
    reply = [[SECRET] * 1000, {SECRET: 1}, None, 1, 1.5, True, DisqueError(SECRET.decode())] * 1000
    assert shape(reply) == (
        "array of 7000 (array of 1000 (text of 16 bytes, text of 16 bytes, text of 16 bytes, "
        "text of 16 bytes, ...), map of 1, nil, integer, ...)"
    )
    assert [shape(part) for part in ("é", 1.5, True, DisqueError("x"), set())] == [
        "text of 1 characters", "double", "boolean", "error", "array of 0"
    ]  # fmt: skip
