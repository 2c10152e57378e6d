"""`pydisque migrate`: all jobs of a running Disque get to another one, whatever happens."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pydisque.client import Client
from pydisque.errors import ConnectionLostError, OOMError
from pydisque.migration.journal import Journal
from pydisque.migration.mover import Move
from pydisque.migration.plan import Standing
from pydisque.migration.source import Source
from pydisque.protocol.addresses import parse_addresses
from pydisque.protocol.replies import JobInfo
from support.fake_node import FakeNode, bulk
from support.servers import (
    Deployment,
    NodeProcess,
    ask,
    free_port,
    lacks,
    running,
    serving,
    unique,
    until,
)

COMMAND = [sys.executable, "-m", "pydisque", "migrate"]


server = serving("memory", "disque", "disque-3")


@pytest.fixture
def source(server: Deployment) -> Iterator[Client]:
    """The cluster the jobs are in; see `queue`, as others use it too."""
    with Client(server.addresses) as client:
        yield client


@pytest.fixture
def target() -> Iterator[Client]:
    """A node of our own, which is empty."""
    with running("memory") as deployment, Client(deployment.addresses) as client:
        client.connect()
        yield client


def address(client: Client) -> str:
    return next(iter(client.nodes))


@pytest.fixture
def migrate(
    server: Deployment, target: Client, queue: str
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `pydisque migrate` for the queue of this test."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        where = (server.addresses[-1], "--to", address(target), "--queue", queue)
        return subprocess.run(
            [*COMMAND, *where, *args], capture_output=True, text=True, timeout=60, check=False
        )

    return run


def infos(addresses: list[str] | str, queue: str) -> list[JobInfo]:
    """All that these nodes know of the jobs of a queue and are not done with."""
    each = [addresses] if isinstance(addresses, str) else addresses
    words = ("JSCAN", 0, "BUSYLOOP", "QUEUE", queue, "REPLY", "ALL")
    found = [JobInfo(job) for node in each for job in ask(node, *words)[1]]
    return [info for info in found if info.state != b"acked"]


def bodies(addresses: list[str] | str, queue: str) -> Counter[bytes]:
    return Counter(info.body for info in infos(addresses, queue))


def fetched(client: Client, queue: str) -> bytes:
    """Let somebody have a job, wherever in the cluster it is; its ID."""
    [job] = until(lambda: client.get_job([queue], 1000))
    return job.id


# What is moved


def test_queued_jobs(server, source, target, queue, migrate):
    """Queued jobs are queued at the target, with body, RETRY and what is left of their TTL."""
    source.add_job(queue, b"\x00\xff", retry=7, ttl=700)
    source.add_job(queue, b"", retry=0, ttl=50, replicate=1)
    result = migrate()
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "moved: 2 jobs (2 queued)\n"
    once, again = sorted(infos(address(target), queue), key=lambda info: info.retry)
    assert (again.state, again.body, again.retry) == (b"queued", b"\x00\xff", 7)
    assert (once.state, once.body, once.retry) == (b"queued", b"", 0)
    assert 690 <= again.ttl <= 700
    assert 40 <= once.ttl <= 50
    assert until(lambda: not infos(server.addresses, queue))


def test_nodes_on_one_valkey(target, queue):
    """Nodes that have the same jobs are taken for one: each job is moved once."""
    with running("valkey-3") as shared, Client(shared.addresses) as client:
        ids = client.add_jobs(queue, ["a", "b", "c"])
        with Source(parse_addresses(shared.addresses)) as source:
            assert len(source.nodes) == 1
            Move(source, target, Journal(), queues=[queue.encode()]).run()
        assert [client.show(id_) for id_ in ids] == [None] * 3
        assert target.qlen(queue) == 3


def test_the_order_of_a_queue(server, target, queue, migrate):
    """Jobs keep their order, and thousands are moved page by page, each once."""
    with Client(server.addresses[0]) as client:
        client.connect()
        client.add_jobs(queue, [b"%d" % n for n in range(3000)], asynchronous=True)
    assert migrate().returncode == 0
    got = [job.body for job in target.get_job([queue], count=3000)]
    assert got == [b"%d" % n for n in range(3000)]
    assert until(lambda: not infos(server.addresses, queue))


def test_jobs_of_all_nodes(server, target, queue, migrate):
    """Whichever node of a cluster has it, a job is moved once."""
    for number in range(30):
        node = server.addresses[number % len(server.addresses)]
        ask(node, "ADDJOB", queue, f"{number}", 1000)
    assert migrate().stdout == "moved: 30 jobs (30 queued)\n"
    assert bodies(address(target), queue) == {b"%d" % n: 1 for n in range(30)}
    assert until(lambda: not infos(server.addresses, queue))


def test_delayed_jobs(server, source, target, queue, migrate):
    """A delayed job is delayed at the target for what is left, at most once or not."""
    source.add_job(queue, "again", delay=600, retry=7)
    source.add_job(queue, "once", delay=600, retry=0, replicate=1)
    result = migrate()
    assert (result.returncode, result.stdout) == (0, "moved: 2 jobs (2 delayed)\n")
    found = infos(address(target), queue)
    assert {(info.body, info.retry) for info in found} == {(b"again", 7), (b"once", 0)}
    for info in found:
        assert info.state == b"active"
        assert 590_000 < info.next_requeue_within <= 600_000
    assert until(lambda: not infos(server.addresses, queue))


def test_a_job_that_is_due_soon(server, source, target, queue, migrate):
    """One whose delay is nearly over is moved once it is queued."""
    source.add_job(queue, "body", delay=2)
    result = migrate("--active", "skip")
    assert (result.returncode, result.stdout) == (0, "moved: 1 job (1 queued)\n")
    assert bodies(address(target), queue) == {b"body": 1}


def test_large_jobs(server, source, target, queue, migrate):
    """Bodies of megabytes get there whole."""
    large = [os.urandom(3 << 20) for _ in range(3)]
    for body in large:
        source.add_job(queue, body, timeout=5000)
    assert migrate().returncode == 0
    assert bodies(address(target), queue) == Counter(large)


def test_other_queues_are_left(source, target, queue, migrate):
    """With --queue only the jobs of that one are moved."""
    other = unique("other")
    source.add_job(other, "stays")
    source.add_job(queue, "goes")
    assert migrate().stdout == "moved: 1 job (1 queued)\n"
    assert bodies(address(target), other) == {}


@pytest.mark.parametrize("kind", ["disque", "disque-3"])
def test_to_a_real_disque(kind, queue):
    """A real Disque, or a cluster of it, can be the target."""
    if reason := lacks(kind):
        pytest.skip(reason)
    with running("memory") as old, running(kind) as new, Client(old.addresses) as client:
        client.add_jobs(queue, ["a", "b"], retry=9)
        client.add_job(queue, "once", retry=0)
        client.add_job(queue, "later", delay=600)
        result = subprocess.run(
            [*COMMAND, old.addresses[0], "--to", new.addresses[0]],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == "moved: 4 jobs (3 queued, 1 delayed)\n"
        assert set(bodies(new.addresses, queue)) == {b"a", b"b", b"once", b"later"}
        assert infos(old.addresses, queue) == []


# Jobs that somebody works on


def test_wait(server, source, target, queue, migrate):
    """By default it waits for jobs that somebody works on: acknowledged ones are not moved, those
    that come back are."""
    source.add_job(queue, "done", retry=60)
    done = fetched(source, queue)
    source.add_job(queue, "comes back", retry=3)
    fetched(source, queue)
    timer = threading.Timer(1, source.ack_job, [done])
    timer.start()
    result = migrate()
    timer.join()
    assert (result.returncode, result.stdout) == (0, "moved: 1 job (1 queued)\n")
    assert re.fullmatch(r"waiting for [12] jobs? \(Ctrl-C stops\)\n", result.stderr)
    assert bodies(address(target), queue) == {b"comes back": 1}


def test_skip(server, source, target, queue, migrate):
    """Those that are to be skipped stay where they are, are told, and are no failure."""
    source.add_job(queue, "body", retry=60)
    job_id = fetched(source, queue)
    result = migrate("--active", "skip")
    told = "moved: 0 jobs\nleft: 1 job that somebody works on\n"
    assert (result.returncode, result.stdout) == (0, told)
    assert infos(address(target), queue) == []
    assert source.show(job_id).state == b"active"


def test_move(server, source, target, queue, migrate):
    """Those that are to be moved at once are delivered when their lease would have ended."""
    source.add_job(queue, "body", retry=60)
    fetched(source, queue)
    result = migrate("--active", "move")
    assert (result.returncode, result.stdout) == (0, "moved: 1 job (1 active)\n")
    [info] = infos(address(target), queue)
    assert (info.state, info.retry) == (b"active", 60)
    assert 40_000 < info.next_requeue_within <= 61_000
    assert until(lambda: not infos(server.addresses, queue))


@pytest.mark.parametrize("active", ["wait", "move", "skip"])
def test_at_most_once_and_handed_out(source, target, queue, migrate, active):
    """A job to be delivered at most once that was handed out is never moved, nor waited for."""
    source.add_job(queue, "body", retry=0, replicate=1)
    fetched(source, queue)
    result = migrate("--active", active)
    told = "moved: 0 jobs\nleft: 1 job handed out, and delivered at most once\n"
    assert (result.returncode, result.stdout) == (0, told)
    assert infos(address(target), queue) == []


# Pauses


def test_pauses(server, source, target, queue, migrate):
    """A queue that is paused is paused at the target, before anybody there could get its jobs."""
    source.add_job(queue, "body")
    for node in server.addresses:
        ask(node, "PAUSE", queue, "all")
    result = migrate()
    assert result.returncode == 0
    assert result.stdout == f"moved: 1 job (1 queued)\npaused at the target (all): {queue}\n"
    assert target.pause(queue, kw_state=True) == b"all"
    assert target.qlen(queue) == 1


def test_pauses_that_are_not_wanted(server, source, target, queue, migrate):
    """With --no-pauses the target's queues are left as they are."""
    source.add_job(queue, "body")
    for node in server.addresses:
        ask(node, "PAUSE", queue, "out")
    assert migrate("--no-pauses").stdout == "moved: 1 job (1 queued)\n"
    assert target.pause(queue, kw_state=True) == b"none"


def test_a_target_that_takes_no_jobs(server, source, target, queue, migrate):
    """Jobs of a queue that is paused in input at the target stay untouched, and are told."""
    job_id = source.add_job(queue, "body")
    target.pause(queue, kw_in=True)
    result = migrate()
    assert (result.returncode, result.stdout) == (1, "moved: 0 jobs\nleft: 1 job queued\n")
    told = f"left: the jobs of {queue}, which is paused in input at the target\n"
    assert result.stderr == told
    assert any(info.state == b"queued" for info in infos(server.addresses, queue))
    shown = source.show(job_id)
    assert (shown.nacks, shown.additional_deliveries) == (0, 0)


# What goes wrong


@pytest.fixture
def move(server: Deployment, target: Client, queue: str) -> Iterator[Callable[[Journal], Move]]:
    """Makes moves of the queue of this test."""
    with Source(parse_addresses(server.addresses)) as source:
        yield lambda journal: Move(source, target, journal, queues=[queue.encode()])


@pytest.mark.parametrize("retry", [0, 60])
def test_a_target_that_is_full(server, move, source, target, queue, retry, monkeypatch):
    """What the target refuses is back in its queue at once, at most once or not."""
    source.add_job(queue, "body", retry=retry, replicate=1)
    journal = Journal()
    moving = move(journal)
    monkeypatch.setattr(moving, "_add", lambda batch: [OOMError() for _ in batch])
    with pytest.raises(OOMError):
        moving.run()
    queued = until(lambda: [i for i in infos(server.addresses, queue) if i.state == b"queued"])
    assert {info.body for info in queued} == {b"body"}
    assert not journal.touched | journal.added | moving.in_doubt.keys()


def test_an_answer_that_is_lost(server, move, source, target, queue, tmp_path, monkeypatch):
    """A job of which it is not known whether it was added is told, and moved by the next run."""
    job_id = source.add_job(queue, "body", retry=2)
    path = str(tmp_path / "journal")
    with Journal(path) as journal:
        moving = move(journal)
        monkeypatch.setattr(moving, "_add", lambda batch: lost(moving, batch))
        with pytest.raises(ConnectionLostError):
            moving.run()
        assert list(moving.in_doubt) == [job_id]
    with Journal(path) as journal:
        assert journal.touched == {job_id}
        move(journal).run()
    assert bodies(address(target), queue) == {b"body": 1}


def lost(moving: Move, batch: list[Any]) -> list[Exception]:
    moving.in_doubt.update((found.id, None) for found in batch)
    return [ConnectionLostError("the node hung up") for _ in batch]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("when", ["journal.add", "_acknowledge", "_settle"])
@pytest.mark.parametrize("delay", [None, 600])
def test_killed_after_a_job_was_added(
    server, move, source, target, queue, tmp_path, monkeypatch, when, delay
):
    """Wherever it is killed no job is lost; what it knew to be added is not added again, and of
    the rest it is told that it may be."""
    ids = {source.add_job(queue, b"%d" % n, retry=2, delay=delay) for n in range(5)}
    path = str(tmp_path / "journal")

    def die(*_: object) -> None:
        raise Killed

    with Journal(path) as journal:
        moving = move(journal)
        owner, name = (journal, "add") if when == "journal.add" else (moving, when)
        monkeypatch.setattr(owner, name, die)
        with pytest.raises(Killed):
            moving.run()
    with Journal(path) as journal:
        known, doubted = set(journal.added), set(journal.touched)
        assert known | doubted == ids
        assert known == (set() if when == "journal.add" else ids)
        move(journal).run()
        assert not journal.added | journal.touched
    times = 2 if when == "journal.add" else 1
    assert bodies(address(target), queue) == {b"%d" % n: times for n in range(5)}
    assert until(lambda: not infos(server.addresses, queue))


def test_killed_after_a_job_was_taken(server, source, target, queue, tmp_path, move, monkeypatch):
    """One that was taken and not added comes back; to be delivered at most once, it is never
    delivered twice, and stays at the source for somebody to look at."""
    again = source.add_job(queue, "again", retry=2)
    once = source.add_job(queue, "once", retry=0, replicate=1)
    path = str(tmp_path / "journal")

    def die(*_: object) -> None:
        raise Killed

    with Journal(path) as journal:
        moving = move(journal)
        monkeypatch.setattr(moving, "_add", die)
        with pytest.raises(Killed):
            moving.run()
    with Journal(path) as journal:
        assert journal.touched == {again, once}
        move(journal).run()
    assert bodies(address(target), queue) == {b"again": 1}
    assert [info.body for info in infos(server.addresses, queue)] == [b"once"]


def test_a_job_that_is_queued_while_it_looks(server, source, target, queue, move, monkeypatch):
    """One that comes back after its queue was emptied, and before it is looked for, is moved."""
    source.add_job(queue, "body", retry=300)
    job_id = fetched(source, queue)
    with Journal() as journal:
        moving = move(journal)
        look = moving._move_others

        def come_back() -> int:
            monkeypatch.setattr(moving, "_move_others", look)
            source.enqueue(job_id)
            return look()

        monkeypatch.setattr(moving, "_move_others", come_back)
        moving.run()
    assert bodies(address(target), queue) == {b"body": 1}


def test_an_earlier_run_is_told(server, source, target, queue, migrate, tmp_path):
    """The command says of each job what became of it in a run that was cut off."""
    added, touched = (source.add_job(queue, body).decode() for body in ("added", "touched"))
    once = "D-0c0c0c0c-AAAAAAAAAAAAAAAAAAAAAAAA-05a0"
    path = tmp_path / "journal"
    path.write_text(f"pydisque-migrate 1\ntaking {added} {touched} {once}\nadded {added}\n")
    result = migrate("--journal", str(path))
    assert (result.returncode, result.stdout) == (0, "moved: 1 job (1 queued)\n")
    doubted = sorted([touched, once])
    assert result.stderr == (
        "added by a run that was cut off, and not again: 1 job\n"
        f"may be at both since a run that was cut off: {doubted[0]}\n"
        f"may be at both since a run that was cut off: {doubted[1]}\n"
        f"at most once, and may be in no queue since a run that was cut off: {once}\n"
    )
    assert bodies(address(target), queue) == {b"touched": 1}
    assert path.read_text() == "pydisque-migrate 1\n"
    assert until(lambda: not infos(server.addresses, queue))


def test_killed_again_and_again(server, target, queue, tmp_path):
    """Killed at any moment and run again, no job is lost, and what is twice was told."""
    wanted = {b"%d" % n for n in range(6000)}
    with Client(server.addresses) as client:
        client.add_jobs(queue, wanted, retry=2, asynchronous=True)
    where = (server.addresses[0], "--to", address(target), "--queue", queue)
    words = [*COMMAND, *where, "--journal", str(tmp_path / "journal")]
    told = kills = 0
    while True:
        before = target.qlen(queue)
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if kills < 4:
            until(lambda p=process, n=before: p.poll() is not None or target.qlen(queue) > n, 30)
            time.sleep(random.uniform(0, 0.1))
            process.kill()
            kills += 1
        _, stderr = process.communicate(timeout=60)
        told += len(re.findall(r"may be at both", stderr))
        if process.returncode == 0:
            break
        assert process.returncode in (-signal.SIGKILL, 0), stderr
    found = bodies(address(target), queue)
    assert set(found) == wanted
    assert sum(count - 1 for count in found.values()) <= told
    assert until(lambda: not infos(server.addresses, queue))


def test_ctrl_c(server, source, target, queue):
    """A signal ends it after what is under way: nothing is twice, the rest is told."""
    source.add_job(queue, "worked on", retry=300)
    fetched(source, queue)
    source.add_jobs(queue, ["a", "b"])
    where = (server.addresses[0], "--to", address(target), "--queue", queue)
    process = subprocess.Popen(
        [*COMMAND, *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline().startswith("waiting for 1 job")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    told = "moved: 2 jobs (2 queued)\nleft: 1 job that somebody works on\n"
    assert (process.returncode, stdout, stderr) == (1, told, "")


def test_a_source_node_that_is_down(target, queue):
    """A node that cannot be asked is told, the others' jobs are moved, and the exit code is 1."""
    gone = free_port()
    with running("memory") as old, Client(old.addresses) as client:
        client.add_job(queue, "body")
        result = subprocess.run(
            [*COMMAND, f"{old.addresses[0]},127.0.0.1:{gone}", "--to", address(target)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (result.returncode, result.stdout) == (1, "moved: 1 job (1 queued)\n")
    assert re.fullmatch(
        rf"not asked, and its jobs are not moved: 127.0.0.1:{gone}: .*refused.*\n", result.stderr
    )


@pytest.mark.parametrize(("host", "port"), [("", 7711), ("a b", 7711), ("127.0.0.1", 0)])
def test_a_source_node_without_an_address(host, port):
    """A node of which another tells no host and port is told as one that could not be asked."""
    with FakeNode(INFO=bulk(b"# Server\r\n")) as node:
        node.others = [("b" * 40, host, port, 1)]
        with Source(parse_addresses(node.address)) as source:
            assert source.silent == [f"{host}:{port}: no host and port"]


def test_a_cluster_without_one_of_its_nodes(target, queue):
    """What a dead node of a cluster had queued is moved once the others have it queued."""
    if reason := lacks("disque-3"):
        pytest.skip(reason)
    with running("disque-3") as old:
        *alive, dead = old.addresses
        for number in range(20):
            ask(dead, "ADDJOB", queue, f"{number}", 1000, "REPLICATE", 3, "RETRY", 3)
        with pytest.raises(ConnectionResetError):
            ask(dead, "SHUTDOWN")
        result = subprocess.run(
            [*COMMAND, alive[0], "--to", address(target)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert infos(alive, queue) == []
    assert (result.returncode, result.stdout) == (1, "moved: 20 jobs (20 queued)\n")
    assert f"not asked, and its jobs are not moved: {dead}: " in result.stderr
    assert bodies(address(target), queue) == {b"%d" % n: 1 for n in range(20)}


def test_a_source_that_dies(target, queue):
    """When a node of the source goes away meanwhile that is one plain line, and exit code 1."""
    with NodeProcess() as old, Client(old.address) as client:
        client.add_job(queue, "worked on", retry=300)
        fetched(client, queue)
        process = subprocess.Popen(
            [*COMMAND, old.address, "--to", address(target)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr.readline().startswith("waiting for 1 job")
        old.kill()
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (3, "moved: 0 jobs\n")
    assert re.fullmatch(rf"Error: {old.address}: .*\n", stderr)


def test_under_load(server, move, target, queue):
    """While producers and workers go on at the source, each job is worked on there, or moved, and
    none both."""
    worked: Counter[bytes] = Counter()
    stop = threading.Event()

    def work() -> None:
        with Client(server.addresses[-1:]) as client:
            while not stop.is_set():
                for job in client.get_job([queue], 200, 10):
                    worked[job.body] += 1
                    client.ack_job(job.id)

    added: set[bytes] = set()

    def produce() -> None:
        with Client(server.addresses) as client:
            for batch in range(20):
                bodies = [b"%d %d" % (batch, n) for n in range(50)]
                client.add_jobs(queue, bodies, retry=60, asynchronous=True)
                added.update(bodies)
                stop.wait(0.05)

    threads = [threading.Thread(target=work), threading.Thread(target=produce)]
    with Client(server.addresses) as client:
        client.add_jobs(queue, [b"%d" % n for n in range(2000)], retry=60, asynchronous=True)
    for thread in threads:
        thread.start()
    with Journal() as journal:
        moving = move(journal)
        try:
            moving.run()
            threads[1].join()
            moving.run()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    wanted = added | {b"%d" % n for n in range(2000)}
    moved = bodies(address(target), queue)
    assert moved.total() == moving.moved[Standing.QUEUED] > 0
    assert set(moved) | set(worked) == wanted
    assert moved + worked == Counter(wanted)


# What is told


def test_dry_run(server, source, target, queue, migrate):
    """It tells how many jobs there are, by queue and state, and changes nothing."""
    source.add_jobs(queue, ["a", "b"])
    source.add_job(queue, "later", delay=600)
    before = sorted(map(str, (info.id for info in infos(server.addresses, queue))))
    result = migrate("--dry-run")
    assert (result.returncode, result.stderr) == (0, "")
    head, line = result.stdout.splitlines()[:2]
    assert head.split()[:4] == ["queue", "queued", "delayed", "active"]
    assert line.split()[:4] == [queue, "2", "1", "0"]
    told = json.loads(migrate("--dry-run", "--json").stdout)
    assert told | {"name": queue, "queued": 2, "delayed": 1, "active": 0, "pause": "none"} == told
    assert sorted(map(str, (info.id for info in infos(server.addresses, queue)))) == before
    assert infos(address(target), queue) == []


def test_nothing_to_move(migrate):
    """That there is nothing is no failure."""
    assert migrate("--dry-run").stdout == "no jobs\n"
    result = migrate()
    assert (result.returncode, result.stdout, result.stderr) == (0, "moved: 0 jobs\n", "")


def test_what_programs_are_told(source, queue, migrate):
    """With --json standard output is one object: what was moved, what is left, what is in doubt."""
    source.add_jobs(queue, ["a", "b"])
    source.add_job(queue, "later", delay=600)
    done = migrate("--json", "--queue", queue)
    told = json.loads(done.stdout)
    assert (done.returncode, told["moved"]["queued"], told["moved"]["delayed"]) == (0, 2, 1)
    assert set(told["left"].values()) == {0}
    assert (told["in_doubt"], told["overtaken"]) == ([], 0)
    assert done.stderr.startswith("moved: 3 jobs")


def test_onto_itself(server):
    """A cluster is not moved onto itself."""
    for target in {server.addresses[0], server.addresses[-1]}:
        result = subprocess.run(
            [*COMMAND, server.addresses[0], "--to", target],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (result.returncode, result.stdout) == (2, "")
        assert "the source and the target are the same cluster" in result.stderr


@pytest.mark.parametrize("there", ["source", "target"])
def test_no_node(target, there):
    """That none answers is told in one plain line."""
    gone = f"localhost:{free_port()}"
    words = (address(target), gone) if there == "target" else (gone, address(target))
    result = subprocess.run(
        [*COMMAND, words[0], "--to", words[1]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (3, "")
    assert re.fullmatch(r"Error: no node answered .*refused.*\n", result.stderr)


def test_a_journal_that_is_none(migrate, tmp_path):
    """A file that is no journal is told in one plain line, and left as it is."""
    file = tmp_path / "diary"
    file.write_text("dear diary\n")
    result = migrate("--journal", str(file))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"Error: {file} is no journal of `pydisque migrate`\n"
    assert Path(file).read_text() == "dear diary\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["a b", "--to", "localhost"], "'a b' is no node"),
        (["localhost", "--to", "a b"], "'a b' is no node"),
        (["localhost"], "Missing option '--to'"),
        (["localhost", "--to", "localhost:1", "--active", "kill"], "'kill' is not one of"),
    ],
)
def test_wrong_words(args, told):
    """What is not understood is told with exit code 2, whether there is a node or not."""
    result = subprocess.run(
        [*COMMAND, *args], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr
