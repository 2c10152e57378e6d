"""One client in many threads and in two processes: each gets the replies to what it asked."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pydisque.client import Client
from support.servers import NodeProcess

THREADS = 16
TIMES = 60


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A node in a process of its own."""
    with NodeProcess() as node:
        yield node


@pytest.fixture
def client(node: NodeProcess) -> Iterator[Client]:
    """The one client all share."""
    with Client(node.address) as client:
        yield client


def test_replies_are_never_mixed(client, queue):
    """Threads that add, get, look and acknowledge at once each see their own jobs alone."""

    def work(thread: int) -> int:
        mine = f"{queue}-{thread}"
        for number in range(TIMES):
            body = b"%d of %d" % (number, thread)
            job_id = client.add_job(mine, body, retry=100 + thread)
            assert client.qlen(mine) == 1
            assert client.show(job_id).retry == 100 + thread
            assert client.qpeek(mine, 1) == [(mine.encode(), job_id, body)]
            assert client.get_job([mine]) == [(mine.encode(), job_id, body)]
            assert client.working(job_id) == 100 + thread
            assert client.pause(mine, kw_state=True) == b"none"
            assert client.ack_job(job_id) == 1
            assert client.get_job([mine], nohang=True) == []
        return TIMES

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(work, range(THREADS))) == THREADS * TIMES


def test_no_job_is_lost_or_doubled(client, queue):
    """What eight threads add eight others get and acknowledge, each job exactly once."""
    total = THREADS // 2 * TIMES

    def produce(thread: int) -> list[bytes]:
        return [client.add_job(queue, f"{thread}:{number}") for number in range(TIMES)]

    def consume(_: int) -> list[bytes]:
        done = []
        while jobs := client.get_jobs([queue], timeout=1000):
            done += [job.id for job in jobs]
            assert [job.ack() for job in jobs] == [1] * len(jobs)
        return done

    with ThreadPoolExecutor(THREADS) as pool:
        consumed = [pool.submit(consume, thread) for thread in range(THREADS // 2)]
        produced = [pool.submit(produce, thread) for thread in range(THREADS // 2)]
        added = [job_id for each in produced for job_id in each.result(30)]
        done = [job_id for each in consumed for job_id in each.result(30)]
    assert len(added) == total
    assert Counter(done) == Counter(added)


def test_pipelines_side_by_side(client, queue):
    """Batches of several threads do not end up in one another."""

    def work(thread: int) -> None:
        mine = f"{queue}-{thread}"
        for _ in range(10):
            ids = client.add_jobs(mine, [f"{thread}:{number}" for number in range(50)])
            pipeline = client.pipeline().get_job([mine], count=50).ack_job(*ids).qlen(mine)
            jobs, acked, length = pipeline.execute()
            assert [job.id for job in jobs] == ids
            assert (acked, length) == (50, 0)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


FORKING = """
import os, sys, threading, warnings
from pydisque.client import Client

warnings.simplefilter("ignore", DeprecationWarning)  # a fork with threads is a risk: ours
client = Client(sys.argv[1])
queue = sys.argv[2]


def work(name, times=200):
    mine = f"{queue}-{name}"
    for number in range(times):
        body = f"{name} {number}".encode()
        job_id = client.add_job(mine, body)
        assert client.get_job([mine]) == [(mine.encode(), job_id, body)]
        assert client.qlen(mine) == 0
        assert client.ack_job(job_id) == 1


work("before", 1)
got = []
waiting = threading.Thread(target=lambda: got.extend(client.get_job([queue])))
waiting.start()
busy = threading.Thread(target=work, args=("thread",))
busy.start()
child = os.fork()
if child == 0:
    try:
        work("child")
        client.close()
        os._exit(0)
    finally:
        os._exit(1)
work("parent")
_, status = os.waitpid(child, 0)
busy.join()
assert os.waitstatus_to_exitcode(status) == 0
client.add_job(queue, "for the one who waits")
waiting.join(10)
assert [job.body for job in got] == [b"for the one who waits"], got
print("done")
"""


def test_both_sides_of_a_fork(node, queue):
    """After a fork parent and child use the client as if each had its own, waits included."""
    command = [sys.executable, "-c", FORKING, node.address, queue]
    program = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (program.stdout, program.stderr, program.returncode) == ("done\n", "", 0)
