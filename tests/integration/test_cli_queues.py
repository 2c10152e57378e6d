"""Queues from the shell: listed, paused, watched, emptied; on one node and in a cluster."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator

import pytest

from pydisque.cli.output import progress
from pydisque.client import Client
from support.cli import Ended, run, shape, started
from support.servers import Deployment, unique

pytestmark = pytest.mark.parametrize(
    "server", ["memory", "valkey-3", "disque", "disque-3"], indirect=True
)


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses) as client:
        yield client


@pytest.fixture
def elsewhere(server: Deployment) -> Iterator[Client]:
    """A client of another node, where there is one."""
    with Client(server.addresses[::-1]) as client:
        yield client


@pytest.fixture
def cli(server: Deployment) -> Callable[..., Ended]:
    def call(*args: str, typed: str = "") -> Ended:
        return run(server.addresses, *args, typed=typed)

    return call


@pytest.fixture
def three(client: Client) -> str:
    """Three queues, of 1, 3 and 2 jobs; what their names begin with."""
    prefix = unique("three")
    for name, length in (("a", 1), ("b", 3), ("c", 2)):
        client.add_jobs(f"{prefix}-{name}", ["body"] * length)
    return prefix


def names(done: Ended) -> list[str]:
    """The ends of the names in a list."""
    return [json.loads(line)["name"][-1] for line in done.text.splitlines()]


# queues


def test_queues(cli, three):
    """The longest come first, each with its figures."""
    done = cli("queues", f"{three}-*")
    assert (done.code, done.err) == (0, "")
    said = re.sub(r"\b\d+s\b", "T", done.shape).replace(three, "Q")
    assert said == (
        "queue  len  in  out  blocked  age  idle  pause\n"
        "Q-b  3  3  0  0  T  T\nQ-c  2  2  0  0  T  T\nQ-a  1  1  0  0  T  T\n"
    )


def test_queues_chosen(cli, client, three):
    """By their names, their length, in any order, and at most so many."""
    pattern = f"{three}-*"
    assert names(cli("queues", f"{three}-[ab]", "--json")) == ["b", "a"]
    assert names(cli("queues", pattern, "--json", "--sort", "name")) == ["a", "b", "c"]
    assert names(cli("queues", pattern, "--json", "--min-len", "2")) == ["b", "c"]
    client.get_job([f"{three}-a"])
    assert names(cli("queues", pattern, "--json", "--sort", "out"))[0] == "a"
    some = cli("queues", pattern, "--json", "--limit", "2")
    assert (names(some), some.err) == (["b", "c"], "and more: see --limit\n")
    assert cli("queues", f"{three}-x") == (0, b"no queues\n", "")


def test_a_queue_on_several_nodes(cli, client, elsewhere, queue):
    """In a cluster a queue comes once, with what all nodes have of it."""
    for each in (client, elsewhere):
        each.add_jobs(queue, ["x", "y"])
    [told] = map(json.loads, cli("queues", f"*{queue[-12:]}", "--json").text.splitlines())
    assert (told["name"], told["len"], told["jobs_in"]) == (queue, 4, 4)
    assert json.loads(cli("stats", queue, "--json").text)["len"] == 4
    assert len(cli("peek", queue, "--json").text.splitlines()) == 4
    said = cli("purge", queue, "--yes")
    assert (said.code, said.text) == (0, "deleted: 4 jobs\n")
    assert client.qlen(queue) == elsewhere.qlen(queue) == 0


# stats


def test_stats_of_a_queue(cli, client, queue):
    """The figures of one queue; one that is not there is told."""
    client.add_jobs(queue, ["x", "y"])
    client.pause(queue, kw_out=True)
    said = re.sub(r"\b\d+s\b", "T", cli("stats", queue).shape)
    assert said.startswith("queue  QUEUE\nlen  2\njobs in  2\njobs out  0\nblocked  0\nage  T\n")
    done = cli("stats", f"{queue}-2")
    assert (done.code, done.err) == (1, f"Error: there is no queue {queue}-2\n")


def test_stats_of_nodes(cli, server):
    """Without a queue each node has its column, or its object."""
    line = cli("stats").text.splitlines()[0]
    assert line.split() == ["node", *server.addresses] or len(server.addresses) > 1
    told = [json.loads(each) for each in cli("stats", "--json").text.splitlines()]
    assert {each["node"] for each in told} == set(server.addresses)
    assert all(each["jobs"] >= 0 and each["version"] for each in told)


# pause and resume


def test_pause_and_resume(cli, client, elsewhere, queue):
    """Queues are paused on all nodes, in one direction or both, until they are resumed."""
    assert cli("pause", queue, f"{queue}-2").text == (
        f"{queue}: paused in input and output\n{queue}-2: paused in input and output\n"
    )
    assert client.pause(queue, kw_state=True) == elsewhere.pause(queue, kw_state=True) == b"all"
    assert json.loads(cli("pause", queue, "--out", "--json").text)["pause"] == "out"
    assert cli("queues", f"*{queue[-12:]}").shape.split()[-1] == "out"
    assert cli("resume", queue).text == f"{queue}: not paused\n"
    assert client.pause(queue, kw_state=True) == elsewhere.pause(queue, kw_state=True) == b"none"


# purge


def test_purge_asks_first(cli, client, queue):
    """Without a yes nothing is deleted."""
    client.add_jobs(queue, ["x", "y"])
    for typed in ("n\n", ""):
        done = cli("purge", queue, typed=typed)
        assert done.code == 1
        assert f"delete 2 jobs of {queue} for good?" in done.text
    assert client.qlen(queue) == 2


def test_purge(cli, client, queue):
    """All that is queued is gone, thousands of jobs; what was taken or delayed is left."""
    client.add_jobs(queue, map(str, range(2500)), asynchronous=True)
    taken = client.get_job([queue])[0].id
    delayed = client.add_job(queue, "later", delay=500)
    done = cli("purge", queue, typed="y\n")
    assert (done.code, done.text.splitlines()[-1]) == (0, "deleted: 2499 jobs")
    assert client.qlen(queue) == 0
    assert client.show(taken).state == client.show(delayed).state == b"active"


def test_purge_of_nothing(cli, client, queue):
    """An empty queue is left as it is, and nobody is asked; one that is not there is told."""
    done = cli("purge", queue)
    assert (done.code, done.err) == (1, f"Error: there is no queue {queue}\n")
    client.ack_job(client.add_job(queue, "body"))
    assert cli("purge", queue) == (0, b"deleted: 0 jobs\n", "")


def test_a_purge_that_is_interrupted(cli, client, queue, monkeypatch):
    """Ctrl-C ends it after a batch; as many jobs are gone as it says."""
    client.add_jobs(queue, map(str, range(3000)), asynchronous=True)
    before = progress.finishing
    monkeypatch.setattr("pydisque.cli.commands.queues.finishing", lambda: interrupting(before))
    done = cli("purge", queue, "--yes")
    [gone] = re.findall(r"deleted: (\d+) jobs\n", done.text)
    assert (done.code, done.err) == (1, "\nAborted!\n")
    assert 0 < int(gone) < 3000
    assert client.qlen(queue) == 3000 - int(gone)


class interrupting:  # noqa: N801
    """What `finishing` does when Ctrl-C comes in the midst of it."""

    def __init__(self, finishing):
        self._finishing = finishing()

    def __enter__(self):
        self._finishing.__enter__()
        signal.raise_signal(signal.SIGINT)

    def __exit__(self, *exc):
        return self._finishing.__exit__(*exc)


# tail


def test_tail(server, client, queue):
    """Jobs are shown as they come, none is taken; Ctrl-C ends it and says how many were seen."""
    client.add_jobs(queue, ["first", "second"])
    args = ("tail", queue, "-n", "1", "--interval", "0.01")
    with started(server.addresses, *args) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        client.add_job(queue, b"\x1b\xff")
        lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stdout.read()) == (0, b"")
        assert process.stderr.read() == b"seen: 2 jobs\n"
    assert shape(b"".join(lines).decode()) == "id  body\nID  second\nID  \\x1b\\xff\n"
    assert client.qlen(queue) == 3


def test_tail_tells_what_it_missed(server, client, queue):
    """Of jobs that are gone before they could be seen the number is told."""
    client.add_job(queue, "seen")
    with started(server.addresses, "tail", queue, "--interval", "0.1", "--raw") as process:
        assert process.stdout.readline() == b"seen\n"
        at_once = client.pipeline().add_job(queue, "x", replicate=1)
        at_once.add_job(queue, "y", replicate=1).get_job([queue], count=3).execute()
        missed = process.stderr.readline()
    assert missed == b"not shown, as they came again or are gone already: 2 jobs\n"


def test_tail_shows_hundreds_at_once(server, client, queue):
    """Jobs that came between two looks are shown, and not only the last of them."""
    client.add_job(queue, "seen", replicate=1)
    with started(server.addresses, "tail", queue, "--interval", "0.5", "--raw") as process:
        assert process.stdout.readline() == b"seen\n"
        client.add_jobs(queue, [str(n) for n in range(300)], replicate=1)
        told = [process.stdout.readline() for _ in range(300)]
    assert told == [b"%d\n" % n for n in range(300)]


# A cluster


def test_jobs_are_found_where_they_are(cli, elsewhere, queue):
    """A job of any node is shown, taken and answered, whichever node is asked first."""
    first, second = elsewhere.add_jobs(queue, ["x", "y"], replicate=1)
    assert json.loads(cli("show", first.decode(), "--json").text)["body"] == "x"
    assert cli("dequeue", first.decode()).text == "taken out: 1 job\n"
    assert cli("enqueue", first.decode()).text == "queued: 1 job\n"
    taken = cli("get", queue, "--raw").text + cli("get", queue, "--raw").text
    assert sorted(taken.splitlines()) == ["x", "y"]
    assert cli("nack", first.decode()).text == "given back: 1 job\n"
    assert cli("ack", first.decode()).text == "acknowledged: 1 job\n"
    assert cli("delete", second.decode()).text == "deleted: 1 job\n"
