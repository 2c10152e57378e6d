"""`pydisque check`, `dump` and `load` on a Valkey: what comes out is what went in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydisque.cli import main
from pydisque.client import Client
from pydisque.node import Server
from pydisque.node.engine.job import ACTIVE, QUEUED, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.dump import line_format
from pydisque.node.store.durable.recovery import Replay
from pydisque.node.store.valkey import check
from pydisque.node.store.valkey import dump as moving
from pydisque.node.store.valkey.keys import Layout, own_id
from pydisque.node.store.valkey.url import Place, parse
from support.resp_peer import Peer
from support.servers import free_port
from support.valkeys import ValkeyProcess, valkey

HEAD = b'{"type":"pydisque-dump","version":1}\n'
HOUR = 3600 * 1000


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyProcess]:
    with valkey() as process:
        yield process


@pytest.fixture
def empty(server: ValkeyProcess) -> ValkeyProcess:
    """A Valkey without a job."""
    server.ask("FLUSHALL")
    return server


def run(*args: str | Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, list(map(str, args)), input=stdin)


def fails(*args: str | Path, stdin: bytes = b"") -> str:
    """The only line that a command says which ends with 1."""
    result = run(*args, stdin=stdin)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    return result.stderr.rstrip("\n")


def dumped(store: str | Path) -> list[bytes]:
    """The lines of a dump."""
    result = run("dump", store)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout_bytes.splitlines(keepends=True)


def by_name(dump: list[bytes]) -> list[bytes]:
    """What is in a dump; its queues by name, as those of one millisecond come in any order."""
    queues = [line for line in dump if line.startswith(b'{"type":"queue"')]
    return sorted(queues) + dump[1 + len(queues) :]


def sound(store: str | Path) -> str:
    """What check says of a store that has to be sound."""
    result = run("check", store)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def fill(peer: Peer) -> list[bytes]:
    """Put jobs of all kinds on a node; the IDs of those in queue ``q``."""
    ids = [peer.ask("ADDJOB", "q", f"body {n}", 0) for n in range(5)]
    peer.ask("ADDJOB", "q", b"\xff\x00\n", 0, "DELAY", 100)
    peer.ask("ADDJOB", b"\xfe", "x", 0, "RETRY", 0)
    assert peer.ask("GETJOB", "FROM", b"\xfe")
    peer.ask("ADDJOB", "short", "x", 0, "RETRY", 5000, "TTL", 4000)
    assert peer.ask("GETJOB", "FROM", "short")
    peer.ask("ADDJOB", "once", "x", 0, "RETRY", 0, "DELAY", 3000)
    later = peer.ask("ADDJOB", "later", "x", 0)
    assert peer.ask("GETJOB", "FROM", "later")
    assert peer.ask("NACK", later, "DELAY", 3000) == 1
    failed = peer.ask("ADDJOB", "later", "x", 0, "DELAY", 3000)
    assert peer.ask("NACK", failed) == 1
    assert peer.ask("GETJOB", "COUNT", 2, "FROM", "q")
    assert peer.ask("NACK", ids[1]) == 1
    peer.ask("PAUSE", "held", "in")
    peer.ask("PAUSE", "q", "out")
    return ids


# There and back


@pytest.mark.parametrize("shards", [1, 64])
def test_from_directory_to_valkey_and_back(tmp_path, empty, shards):
    """Jobs of every kind come back from Valkey as they left the directory, but for new IDs."""
    url = f"{empty.url}?shards={shards}"
    with Server(data=tmp_path / "old") as node, Peer(node.address) as peer:
        fill(peer)
    told = dumped(tmp_path / "old")
    result = run("load", "--verbose", url, stdin=b"".join(told))
    assert (result.exit_code, result.stderr) == (0, "")
    first, second, *rest = result.stdout.splitlines()
    assert (first, second) == (
        "loaded: 11 jobs, 5 queues", "skipped, as they were there: 0 jobs, 0 queues"
    )  # fmt: skip
    expected = b"".join(told)
    for line in rest[1:]:
        before, _, after = line.partition(" is now ")
        assert before[11] != after[11]
        expected = expected.replace(before.encode(), after.encode())
    expected = expected.splitlines(keepends=True)
    if shards == 1:
        assert not rest
    else:
        assert rest[0] == f"given new IDs, as theirs lead to other shards: {len(rest) - 1} jobs"
    assert "11: 5 queued, 6 active" in sound(url)
    assert by_name(dumped(url)) == by_name(expected)
    assert run("load", tmp_path / "new", stdin=b"".join(dumped(url))).exit_code == 0
    assert by_name(dumped(tmp_path / "new")) == by_name(expected)
    sound(tmp_path / "new")


def test_loading_twice(empty):
    """What is there is left as it is; new IDs are the same each time, so nothing comes twice."""
    with Server(store=empty.url) as node, Peer(node.address) as peer:
        fill(peer)
    told = b"".join(dumped(empty.url))
    empty.ask("FLUSHALL")
    url = f"{empty.url}?shards=64"
    assert run("load", url, stdin=told).stdout.startswith("loaded: 11 jobs, 5 queues\n")
    before = dumped(url)[1:]
    assert run("load", url, stdin=told).stdout == (
        "loaded: 0 jobs, 0 queues\nskipped, as they were there: 11 jobs, 5 queues\n"
    )
    assert dumped(url)[1:] == before


@pytest.mark.parametrize("shards", [1, 64])
def test_nodes_on_what_was_loaded(tmp_path, empty, shards):
    """Nodes give back what was loaded while they ran: order, leases, delays, counters, pauses."""
    with Server(data=tmp_path) as node, Peer(node.address) as peer:
        ids = fill(peer)
    url = f"{empty.url}?shards={shards}"
    with Server(store=url) as node, Peer(node.address) as peer:
        assert run("load", url, stdin=b"".join(dumped(tmp_path))).exit_code == 0
        own = [own_id(id_, 0 if shards == 1 else _shard(b"q")) for id_ in ids]
        own = ids if shards == 1 else own
        more = peer.ask("ADDJOB", "q", "more", 0)
        assert [it[1] for it in peer.ask("QPEEK", "q", 9)] == [*own[1:], more]
        reply = peer.ask("SHOW", own[0])
        lease = reply[reply.index(b"next-requeue-within") + 1]
        assert 250_000 < lease < 300_250
        assert peer.ask("PAUSE", "q", "state") == b"out"
        assert peer.ask("PAUSE", "q", "none") == b"none"
        assert peer.ask("GETJOB", "NOHANG", "WITHCOUNTERS", "FROM", "q")[0][4] == 1
        stat = peer.ask("QSTAT", "q")
        assert stat[stat.index(b"jobs-out") + 1] == 3
        assert peer.ask("PAUSE", "held", "state") == b"in"
        assert peer.ask("ACKJOB", *own) == 5
    sound(url)


def _shard(queue: bytes) -> int:
    return Layout("", 64).shard_of_queue(queue)


def test_a_client_in_line_gets_what_is_loaded(empty):
    """Loading wakes who waits."""
    line = (
        b'{"type":"job","id":"D-72821d12-VhDNIQKLrK1GoJ8Tfo9u8wUa-05a1","queue":"q","body":"b",'
        b'"ctime":%d000000,"etime":%d}\n' % (time.time_ns() // 10**6, time.time() + 1000)
    )
    with Server(store=empty.url) as node, Peer(node.address) as peer, Peer(node.address) as other:
        peer.send("GETJOB", "FROM", "q")
        while not other.ask("QSTAT", "q"):
            time.sleep(0.01)
        assert run("load", empty.url, stdin=HEAD + line).exit_code == 0
        assert peer.read()[0][2] == b"b"


def test_expired_jobs_come_to_their_end(empty):
    """A job that expired since the dump is not delivered, nor one from a clock far ahead early."""
    now = time.time_ns() // 10**6
    lines = [
        {"id": f"D-72821d12-{n:024}-05a1", "queue": "q", "body": body, "type": "job"} | times
        for n, (body, times) in enumerate({
            "over": {"ctime": 10**9, "etime": 9},
            "ahead": {"ctime": (now + HOUR) * 10**6, "etime": now // 1000 + 9000},
        }.items())
    ]  # fmt: skip
    told = HEAD + b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert run("load", empty.url, stdin=told).stdout.startswith("loaded: 2 jobs")
    [job] = [json.loads(line) for line in dumped(empty.url) if b'"type":"job"' in line]
    assert (job["body"], job["etime"]) == ("ahead", now // 1000 + 9000)
    assert now <= job["ctime"] // 10**6 < now + 60_000
    with Server(store=empty.url) as node, Peer(node.address) as peer:
        peer.ask("ADDJOB", "q", "young", 0)
        got = peer.ask("GETJOB", "NOHANG", "COUNT", 9, "FROM", "q")
        assert [body for _, _, body in got] == [b"ahead", b"young"]
    sound(empty.url)


def test_shards_that_are_told_in_pages(empty, monkeypatch):
    """Of a large shard every job is told, once, though in many calls."""
    monkeypatch.setattr(moving, "AT_ONCE", 0)
    monkeypatch.setattr(moving, "PAGE", 10)
    with Server(store=empty.url) as node, Client(node.address) as client:
        ids = client.add_jobs("q", [b"%d" % n for n in range(2000)])
        for name in range(600):
            client.pause(f"q{name}", kw_in=True)
    state = moving.read(parse(empty.url))
    assert [job.id for job in state.jobs.values()] == ids
    assert len(state.queues) == 601
    sound(empty.url)


def test_large_bodies(empty):
    """Bodies that are more together than Valkey would send to a node at once come all the same."""
    bodies = [b"%d" % n * 100_000 for n in range(100, 250)]
    with Server(store=empty.url) as node, Client(node.address) as client:
        client.add_jobs("q", bodies)
    told = dumped(empty.url)
    assert [json.loads(line)["body"].encode() for line in told[2:]] == bodies
    empty.ask("FLUSHALL")
    assert run("load", empty.url, stdin=b"".join(told)).exit_code == 0
    assert dumped(empty.url)[1:] == told[1:]


# Random content

NAMES = [b"a", b"b", b"\xff\x00", b"long" * 100, b""]


@st.composite
def jobs(draw: st.DrawFn, now: int) -> Job:
    """A job in any state that lasts for the time of a test."""
    age = draw(st.integers(0, 10**8))
    rest = draw(st.one_of(st.integers(0, 3), st.integers(0, 1023)))
    etime = now // 1000 + draw(st.one_of(st.integers(600, 10**6), st.integers(600, 2**45)))
    retry = draw(st.sampled_from([0, 0, 1, 300, 2**40]))
    job = Job(b"", draw(st.sampled_from(NAMES)), draw(st.binary(max_size=20)), 0, etime, retry)
    job.ctime = (now - age) * 10**6 + rest
    serial = draw(st.integers(0, 63)), draw(st.integers(0, 2**64))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    job.id = f"D-72821d12-{letters[serial[0]]}{serial[1]:023}-05a1".encode()
    job.state = draw(st.sampled_from([QUEUED, ACTIVE]))
    job.delay = draw(st.sampled_from([0, 0, 7]))
    job.nacks = draw(st.sampled_from([0, 0, 1, 65535]))
    job.additional_deliveries = draw(st.sampled_from([0, 0, 1, 65535]))
    job.unqueued = draw(st.booleans())
    if job.state is ACTIVE and (retry or (job.unqueued and draw(st.booleans()))):
        job.qtime = now + HOUR // 6 + draw(st.one_of(st.integers(0, 10**7), st.integers(0, 10**9)))
    job.spent = job.state is ACTIVE and job.qtime is None
    return job


@st.composite
def content(draw: st.DrawFn) -> Replay:
    """Jobs and queues that a directory could hold."""
    state = Replay()
    state.now = now = time.time_ns() // 10**6
    for serial, name in enumerate(draw(st.lists(st.sampled_from(NAMES), unique=True)), 1):
        queue = Queue(name, serial, now - 100 + serial)
        queue.atime = now - draw(st.integers(0, 1000))
        queue.paused_in, queue.paused_out = draw(st.booleans()), draw(st.booleans())
        queue.jobs_in, queue.jobs_out = draw(st.integers(0, 2**53)), draw(st.integers(0, 2**53))
        state.queues[name] = queue
    found = draw(
        st.lists(jobs(now), max_size=30, unique_by=(lambda j: j.id[12:], lambda j: j.ctime))
    )
    state.jobs = {job.ctime: job for job in sorted(found, key=lambda job: job.ctime)}
    return state


@pytest.mark.parametrize("shards", [1, 3, 64])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=content())
def test_whatever_is_loaded_is_dumped(server, shards, state):
    """Any jobs and queues come back as they were, under IDs that lead to their shards."""
    server.ask("FLUSHALL")
    place = Place((("127.0.0.1", server.port),), shards=shards)
    system = Layout("", shards)
    moving.load(place, list(line_format.lines(state, b"")))
    assert check.check(place).problems == []
    for job in state.jobs.values():
        shard = system.shard_of_queue(job.queue)
        if system.shard_of_job(job.id) != shard:
            job.id = own_id(job.id, shard)
    told, wanted = (
        list(line_format.lines(moving.read(place), b"")),
        list(line_format.lines(state, b"")),
    )
    assert sorted(told[1:]) == sorted(wanted[1:])
    order = [json.loads(line)["id"] for line in told if b'"type":"job"' in line]
    assert order == [job.id.decode() for job in state.jobs.values()]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ctimes=st.lists(st.integers(1, 3000), max_size=60))
def test_order_is_kept_whatever_the_ctimes(server, ctimes):
    """Where many jobs were made in one millisecond, they still come in their order."""
    server.ask("FLUSHALL")
    now = time.time_ns() // 10**6
    ctimes = sorted({now * 10**6 - 10**9 + ctime for ctime in ctimes})
    ids = [b"D-72821d12-%024d-05a1" % ctime for ctime in ctimes]
    state = Replay()
    for id_, ctime in zip(ids, ctimes, strict=True):
        state.jobs[ctime] = Job(id_, b"q", b"", ctime, now // 1000 + 1000, 300)
    place = parse(server.url)
    moving.load(place, list(line_format.lines(state, b"")))
    assert [job.id for job in moving.read(place).jobs.values()] == ids
    assert check.check(place).problems == []


# Checking


def test_checking_while_nodes_are_at_work(empty):
    """However much happens meanwhile, nothing is taken for wrong that is not."""
    stop = threading.Event()
    url = f"{empty.url}?shards=4"

    def work(address: str) -> None:
        with Client(address) as client:
            while not stop.is_set():
                ids = client.add_jobs("q", [b"x"] * 50, retry=1)
                client.add_job("r", b"y", delay=1)
                got = client.get_jobs(["q", "r"], count=40, nohang=True)
                client.nack_job(*[job.id for job in got[:20]])
                client.ack_job(*[job.id for job in got[20:]], *ids[:3])

    with Server(store=url) as node:
        threads = [threading.Thread(target=work, args=(node.address,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                assert check.check(parse(url)).problems == []
                moving.read(parse(url))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    sound(url)


J = "D-72821d12-A00000000000000000000001-05a1"
DAMAGE = [
    (("ZREM", "T:timer", J), f"job {J}: it is not in the timer"),
    (("ZREM", "T:ready:q", J), f"job {J}: it is queued, and not in its queue"),
    (("ZADD", "T:ready:q", 4, J), f"job {J}: its place in its queue is not its own"),
    (("ZADD", "T:ready:other", 4, J), f"job {J}: it is in a queue that is not its own"),
    (("ZADD", "T:ready:q", 4, "D-x"), "job D-x: it is in a queue, and is no job"),
    (("ZADD", "T:timer", 2**52, "D-x"), "job D-x: it is in the timer, and is no job"),
    (("HSET", "T:counts", "D-x", "0 0 0 0"), "job D-x: it has counts, and is no job"),
    (("HSET", "T:counts", J, "0 0 0 0"), f"job {J}: whether it has counts is told in two ways"),
    (("HSET", "T:counts", J, "0 0"), f"job {J}: its counts cannot be read"),
    (("HSET", "T:jobs", J, "short"), f"job {J}: it is cut short"),
    (("HDEL", "T:queues", "q"), f"job {J}: it is queued, and its queue has no record"),
    (("HSET", "T:queues", "q", "x"), "queue 'q': its record cannot be read"),
    (("ZREM", "T:timer", "qq"), "queue 'q': nobody will look whether it is idle"),
    (("ZADD", "T:timer", 2**52, J), f"job {J}: it is in its queue, and not queued"),
    (("ZINCRBY", "T:timer", 160, J), f"job {J}: its life ends at another time than its timer says"),
    (("ZADD", "T:timer", 2**52 + 14, J), f"job {J}: its entry in the timer is of no kind"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "told"), DAMAGE, ids=lambda it: it if type(it) is str else "")
def test_what_is_damaged_is_told(empty, words, told):
    """Each thing that does not fit is told in a line, and the exit code is 1."""
    line = {"type": "job", "id": J, "queue": "q", "body": "b", "ctime": 10**18}
    line["etime"] = int(time.time() + 10**6)
    assert run("load", empty.url, stdin=HEAD + json.dumps(line).encode()).exit_code == 0
    tag = Layout("disque", 1).tags[0].decode()
    empty.ask(*[str(word).replace("T:", f"{tag}:") for word in words])
    result = run("check", empty.url)
    assert result.exit_code == 1, empty.ask("KEYS", "*")
    assert f"shard 0: {told}" in result.stdout.splitlines()
    assert result.stderr.startswith(f"Error: {empty.url}: damaged: ")


def test_what_is_in_the_wrong_shard_is_told(empty):
    """A job that its ID or its queue does not lead to is told."""
    with Server(store=f"{empty.url}?shards=64") as node, Peer(node.address) as peer:
        id_ = peer.ask("ADDJOB", "q", "x", 0)
    shard = Layout("disque", 64).tags[_shard(b"q")].decode()
    other = Layout("disque", 64).tags[(_shard(b"q") + 1) % 64].decode()
    for key in ("jobs", "timer", "queues", "ready:q"):
        empty.ask("RENAME", f"{shard}:{key}", f"{other}:{key}")
    told = run("check", empty.url).stdout
    number = (_shard(b"q") + 1) % 64
    assert f"shard {number}: job {id_.decode()}: its ID leads to shard {number - 1}" in told
    assert f"its queue b'q' belongs to shard {number - 1}" in told
    assert f"queue 'q': it belongs to shard {number - 1}" in told


# What cannot be done


@pytest.mark.parametrize("command", ["check", "dump", "load"])
def test_nobody_there(command):
    """That no server answers is told in one plain line."""
    address = f"127.0.0.1:{free_port()}"
    told = fails(command, f"valkey://:secret@{address}", stdin=HEAD)
    before = "nothing was loaded: " if command == "load" else ""
    assert (
        told == f"Error: {before}{address}: Connect call failed ('{address[:9]}', {address[10:]})"
    )


@pytest.mark.parametrize("command", ["check", "dump"])
def test_a_valkey_without_jobs(empty, command):
    """A Valkey that no node used is told as such, and nothing is made there."""
    told = fails(command, f"{empty.url}?prefix=mine")
    assert told == f"Error: no node has used {empty.url} yet, with the prefix 'mine'"
    assert empty.ask("DBSIZE") == 0


@pytest.mark.parametrize("command", ["check", "dump", "load"])
def test_another_layout(empty, command):
    """What another version of pydisque keeps is not touched."""
    empty.ask("HSET", "disque{0}:layout", "version", 99, "shards", 1)
    told = fails(command, empty.url, stdin=HEAD)
    assert "has layout 99, and this pydisque knows layout 1 only: upgrade pydisque here" in told
    assert empty.ask("DBSIZE") == 1


@pytest.mark.parametrize("command", ["check", "dump", "load"])
def test_no_such_address(command):
    """An address that is none is told with what is allowed, and no password."""
    result = run(command, "valkey://me:secret@host:port")
    assert result.exit_code == 2
    assert "allowed is a directory, or the port as a whole number" in result.stderr
    assert "secret" not in result.stderr
    assert "allowed is a directory, or 'valkey', or" in run(command, "http://host").stderr


def test_skip_damaged_is_for_directories(empty):
    """Of a Valkey nothing is skipped."""
    result = run("dump", "--skip-damaged", empty.url)
    assert (result.exit_code, "for data directories" in result.stderr) == (2, True)


def test_a_dump_that_is_wrong_loads_nothing(empty):
    """One bad line, and Valkey is not even asked."""
    told = fails("load", empty.url, stdin=HEAD + b"{}\n")
    assert told == "Error: nothing was loaded: line 2: unknown type None"
    assert empty.ask("DBSIZE") == 0


def test_two_jobs_that_would_have_one_id(empty):
    """IDs that differ in nothing but their shard cannot both be in the same one."""
    queue = next(name for name in "abcdefgh" if _shard(name.encode()) > 1)
    lines = [
        {"type": "job", "id": J.replace("-A", f"-{letter}"), "queue": queue, "body": "b"}
        | {"ctime": 10**18, "etime": 10**10}
        for letter in "AB"
    ]
    told = HEAD + b"\n".join(json.dumps(line).encode() for line in lines)
    assert fails("load", f"{empty.url}?shards=64", stdin=told).startswith(
        "Error: nothing was loaded: two jobs would have the ID D-72821d12-"
    )


def test_a_valkey_that_is_full(tmp_path):
    """What was loaded before Valkey was full is told; with more memory the rest can follow."""
    state = Replay()
    now = time.time_ns() // 10**6
    for n in range(40):
        id_ = b"D-72821d12-%024d-05a1" % n
        job = Job(id_, b"q", b"x" * 200_000, now * 10**6 + n, now // 1000 + 10**4, 300)
        state.jobs[job.ctime] = job
    told = b"".join(line_format.lines(state, b""))
    with valkey("--maxmemory", "6mb") as full:
        said = fails("load", full.url, stdin=told)
        assert said.startswith("Error: only ")
        assert "OOM" in said
        assert said.endswith("load the same dump again for the rest")
        sound(full.url)
        full.ask("CONFIG", "SET", "maxmemory", "100mb")
        assert run("load", full.url, stdin=told).exit_code == 0
        assert len(moving.read(parse(full.url)).jobs) == 40
        full.ask("FLUSHALL")
        full.ask("CONFIG", "SET", "maxmemory", "1")
        said = fails("load", full.url, stdin=told)
        assert said.startswith("Error: nothing was loaded: ")
