"""The differences from Disque on purpose: one test for each row of docs/differences.md."""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pydisque.node import Server
from support.resp_peer import Connect, Peer, error, pack, wait_for_blocked
from support.servers import until
from support.valkeys import valkey

TABLE = Path(__file__).parents[3] / "docs" / "differences.md"


def show(peer: Peer, job: bytes) -> dict[bytes, Any]:
    shown = peer.ask("SHOW", job)
    return dict(zip(shown[::2], shown[1::2], strict=True))


def wait(seconds: float) -> None:
    """Let time pass that is the very thing tested."""
    time.sleep(seconds)


def test_the_table_has_a_test_for_each_row() -> None:
    """A row that is added to the table needs its test here."""
    rows = re.findall(r"^\| (?!What|-)", TABLE.read_text(), re.MULTILINE)
    tests = [name for name in globals() if name.startswith("test_row_")]
    assert len(rows) == len(tests)


def test_row_retry_counts_from_delivery(peer: Peer) -> None:
    """A job that waited longer than its RETRY is not delivered again right after the first time."""
    job = peer.ask("ADDJOB", "q", "x", 0, "RETRY", 1)
    wait(1.3)
    assert show(peer, job)[b"next-requeue-within"] == 1000
    assert peer.ask("GETJOB", "FROM", "q")
    delivered = time.monotonic()
    assert 700 < show(peer, job)[b"next-requeue-within"] <= 1250
    ((_, again, _, _, nacks, _, additional),) = peer.ask("GETJOB", "WITHCOUNTERS", "FROM", "q")
    assert (again, nacks, additional) == (job, 0, 1)
    assert time.monotonic() - delivered > 0.7


def test_row_dequeue_starts_the_clock(peer: Peer) -> None:
    """A dequeued job comes back RETRY seconds after the DEQUEUE, however long it was queued."""
    job = peer.ask("ADDJOB", "q", "x", 0, "RETRY", 1)
    wait(0.6)
    assert peer.ask("DEQUEUE", job) == 1
    assert 700 < show(peer, job)[b"next-requeue-within"] <= 1250
    assert peer.ask("GETJOB", "FROM", "q")[0][1] == job


def test_row_enqueue_uncounted(peer: Peer) -> None:
    """A job can be put back as if it had not been delivered; beside what is no ID nothing is."""
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("GETJOB", "FROM", "q")
    assert error(peer.ask("ENQUEUE", job, "x", "UNCOUNTED")).startswith("BADID")
    assert peer.ask("ENQUEUE", "UNCOUNTED") == 0
    assert peer.ask("ENQUEUE", job, "uncounted") == 1
    counted = [b"nacks", 0, b"additional-deliveries", 0]
    assert peer.ask("GETJOB", "WITHCOUNTERS", "FROM", "q") == [[b"q", job, b"x", *counted]]
    assert peer.ask("ENQUEUE", job) == 1
    assert show(peer, job)[b"additional-deliveries"] == 1


def test_row_nack_with_a_delay(peer: Peer) -> None:
    """A job can be given back for later; what is no delay, or no ID beside it, changes nothing."""
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("GETJOB", "FROM", "q")
    for words in (["DELAY"], ["DELAY", "soon"], ["DELAY", -1]):
        assert error(peer.ask("NACK", job, *words)).startswith("ERR DELAY time must be a non neg")
    assert error(peer.ask("NACK", job, "x", "DELAY", 1)).startswith("BADID")
    assert show(peer, job)[b"nacks"] == 0
    assert peer.ask("NACK", job, job, "delay", 1) == 1
    assert show(peer, job)[b"state"] == b"active"
    assert 0 < show(peer, job)[b"next-requeue-within"] <= 1000
    counted = [b"nacks", 1, b"additional-deliveries", 0]
    assert peer.ask("GETJOB", "WITHCOUNTERS", "FROM", "q") == [[b"q", job, b"x", *counted]]


def test_row_no_job_for_who_hangs_up(peer: Peer, connect: Connect) -> None:
    """A job that is added while its only waiter hangs up is sent to the waiter, or stays queued."""
    for _ in range(100):
        with connect() as leaver:
            leaver.send("GETJOB", "FROM", "q")
            wait_for_blocked(peer, "q", 1)
            peer.send("ADDJOB", "q", "x", 0)
            leaver.sock.shutdown(socket.SHUT_WR)
            job = peer.read()
            taken = job in leaver.rest()
            assert taken != peer.ask("QLEN", "q")
            peer.ask("DELJOB", job)


def test_row_redis_handshake(peer: Peer) -> None:
    """HELLO with a version is Redis's handshake, without one it is Disque's."""
    assert peer.ask("HELLO", 2)[:2] == [b"server", b"disque"]
    assert peer.ask("HELLO", 3, "SETNAME", "me")[b"proto"] == 3
    assert error(peer.ask("HELLO", 9)) == "NOPROTO unsupported protocol version"
    assert peer.ask("HELLO")[:2] == [1, peer.ask("CLUSTER", "MYID")]


def test_row_client_setinfo_and_id(peer: Peer) -> None:
    """What redis-py says about itself is taken, and a connection may ask for its number."""
    assert peer.ask("CLIENT", "SETINFO", "LIB-NAME", "redis-py") == b"OK"
    assert b"id=%d " % peer.ask("CLIENT", "ID") in peer.ask("CLIENT", "LIST")


def test_row_auth_with_user() -> None:
    """A user name may stand before the password; without further users it is ``default``."""
    with Server(password="secret") as server, Peer(server.address) as peer:
        assert error(peer.ask("AUTH", "root", "secret")) == "ERR invalid password"
        assert peer.ask("AUTH", "default", "secret") == b"OK"


def test_row_command_docs(peer: Peer) -> None:
    """redis-cli's question at its start is answered."""
    assert peer.ask("COMMAND", "DOCS", "ping")[1][:2] == [b"summary", b"Ask for a sign of life."]


def test_row_no_cluster(peer: Peer) -> None:
    """CLUSTER MEET is refused with the reason, and the node stays alone."""
    assert "no cluster" in error(peer.ask("CLUSTER", "MEET", "127.0.0.1", 7711))
    assert b"cluster_known_nodes:1" in peer.ask("CLUSTER", "INFO")


def test_row_no_journal(peer: Peer) -> None:
    """Nothing that would promise a file is accepted."""
    assert "Invalid argument 'yes'" in error(peer.ask("CONFIG", "SET", "appendonly", "yes"))
    assert peer.ask("CONFIG", "SET", "appendonly", "no") == b"OK"
    assert "Unknown DEBUG subcommand" in error(peer.ask("DEBUG", "LOADAOF"))
    assert b"aof_enabled:0" in peer.ask("INFO", "persistence")


@pytest.mark.parametrize("word", ["SEGFAULT", "ASSERT", "OOM", "RESTART", "CRASH-AND-RECOVER"])
def test_row_no_crash_on_demand(peer: Peer, word: str) -> None:
    """DEBUG's ways to end a server are unknown here."""
    assert "Unknown DEBUG subcommand" in error(peer.ask("DEBUG", word))
    assert peer.ask("PING") == b"PONG"


def test_row_parameters_without_effect(peer: Peer) -> None:
    """They can be set and read back."""
    for name, value in (("hz", "50"), ("maxmemory-samples", "9"), ("appendfsync", "always")):
        assert peer.ask("CONFIG", "SET", name, value) == b"OK"
        assert peer.ask("CONFIG", "GET", name) == [name.encode(), value.encode()]


@pytest.mark.parametrize(
    ("name", "value"),
    [("maxmemory", "-"), ("maxmemory", "-0"), ("client-output-buffer-limit", "")],
)
def test_no_value_of_a_parameter(peer: Peer, name: str, value: str) -> None:
    """What is no value is refused, though Disque takes it for 0 or the value there is."""
    before = peer.ask("CONFIG", "GET", name)
    assert error(peer.ask("CONFIG", "SET", name, value)).startswith("ERR Invalid argument")
    assert peer.ask("CONFIG", "GET", name) == before


def test_row_large_numbers(peer: Peer) -> None:
    """RETRY, DELAY and TTL beyond 32 bits mean what they say."""
    job = peer.ask("ADDJOB", "q", "x", 0, "RETRY", 2**32, "DELAY", 2**32 + 1, "TTL", 2**40)
    shown = show(peer, job)
    assert (shown[b"retry"], shown[b"delay"]) == (2**32, 2**32 + 1)
    assert 0 <= 2**40 - shown[b"ttl"] < 10
    assert shown[b"next-requeue-within"] > 2**32 * 1000
    assert job.endswith(b"-ffff")


def test_row_lone_line_feeds(peer: Peer) -> None:
    """A line feed ends an inline command, and nothing else is lost."""
    peer.raw(b"PING\nPING\nPING x\r\n")
    assert [peer.read() for _ in range(3)] == [b"PONG", b"PONG", b"x"]


def test_row_nul_bytes(peer: Peer) -> None:
    """A NUL ends an inline line; in a length it is a fault that is told."""
    peer.raw(b"PING a\0b\r\nPING\r\n*1\0\r\n")
    assert peer.rest().endswith(b"a\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n")


def test_row_long_lines(peer: Peer) -> None:
    """A line of more than 64 KiB is refused, also when its end came with it."""
    peer.raw(b"PING " + b"x" * 65_532 + b"\r\n")
    assert peer.rest() == b"-ERR Protocol error: too big inline request\r\n"


def test_row_kill_nobody(node: Server, peer: Peer) -> None:
    """Number 0 is nobody's, so CLIENT KILL ID 0 kills nobody."""
    with Peer(node.address) as other:
        assert other.ask("PING") == b"PONG"
        assert peer.ask("CLIENT", "KILL", "ID", 0) == 0
        assert other.ask("PING") == b"PONG"


@pytest.mark.parametrize("last", [pack("QUIT"), b"*x\r\n"])
def test_row_silent_end(peer: Peer, last: bytes) -> None:
    """A silenced client that quits, or errs, is hung up on without a word."""
    peer.raw(pack("CLIENT", "REPLY", "OFF") + pack("PING") + last)
    assert peer.rest() == b""


def test_row_nodes_on_valkey() -> None:
    """Nodes on one Valkey have the same jobs, know each other, and keep the copies it can."""
    with ExitStack() as stack:
        url = stack.enter_context(valkey()).url
        nodes = [stack.enter_context(Server(store=url)) for _ in range(2)]
        first, second = [stack.enter_context(Peer(node.address)) for node in nodes]
        job = first.ask("ADDJOB", "q", "x", 0)
        assert second.ask("GETJOB", "FROM", "q") == [[b"q", job, b"x"]]
        refused = first.ask("ADDJOB", "q", "x", 0, "REPLICATE", 2)
        assert str(error(refused)).startswith("NOREPL")
        until(lambda: len(first.ask("HELLO")) == 4)
        assert second.ask("DEBUG", "FLUSHALL") == b"OK"
        assert first.ask("SHOW", job) is None


def test_row_monitors_see_the_beginning(peer: Peer, connect: Connect) -> None:
    """MONITOR shows the first 64 arguments and of each the first 1,024 bytes, and how much more."""
    monitor = connect()
    monitor.ask("MONITOR")
    peer.ask("ADDJOB", "q", b"x" * 20_000_000, 0)
    assert monitor.read().endswith(b' "%b... (19998976 more bytes)" "0"' % (b"x" * 1024))
    peer.ask("ACKJOB", *["D"] * 100)
    assert monitor.read().endswith(b' "D" "... (38 more arguments)"')


def test_row_http_ends_the_connection(node: Server, peer: Peer) -> None:
    """A line that HTTP begins with, or TLS, closes the connection, and nothing behind it runs."""
    peer.ask("ADDJOB", "q", "x", 0)
    for first in (b"POST / HTTP/1.1\r\n", b"Host: localhost\r\n"):
        with Peer(node.address) as page:
            page.raw(first + b"DEBUG FLUSHALL\r\n")
            assert page.rest() == b""
    assert peer.ask("QLEN", "q") == 1


def test_row_names_have_a_length(peer: Peer) -> None:
    """CLIENT SETNAME and HELLO take names of up to 1,024 bytes, and change nothing else."""
    assert peer.ask("CLIENT", "SETNAME", "n" * 1024) == b"OK"
    said = "ERR Client names cannot be longer than 1024 bytes."
    assert error(peer.ask("CLIENT", "SETNAME", "x" * 1025)) == said
    assert error(peer.ask("HELLO", 3, "SETNAME", "x" * 1025)) == said
    assert peer.ask("CLIENT", "GETNAME") == b"n" * 1024


def test_row_errors_quote_the_beginning(peer: Peer) -> None:
    """An error shows 128 bytes of what was typed."""
    said = f"ERR unknown command '{'x' * 128}...'"
    assert error(peer.ask("x" * 129)) == said
    assert error(peer.ask("x" * 128)) == said.replace("...", "")


def test_row_command_describes_each_once(peer: Peer) -> None:
    """COMMAND INFO with more names than there can be commands is refused."""
    assert len(peer.ask("COMMAND", "INFO", *["ping"] * 998)) == 998
    said = "ERR COMMAND describes at most 1000 commands in one reply"
    assert error(peer.ask("COMMAND", "INFO", *["ping"] * 1000)) == said


def test_row_monitors_must_read(node: Server, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor that leaves too much unread is cut off."""
    monkeypatch.setattr("pydisque.node.state.node.MONITOR_BACKLOG", 1000)
    with Peer(node.address) as monitor:
        monitor.ask("MONITOR")
        words = [b"\0" * 1000] * 60

        def cut_off() -> bool:
            error(peer.ask("ACKJOB", *words))
            return bool(peer.ask("CLIENT", "LIST").count(b"\n") == 1)

        until(cut_off)


def test_row_timeouts_are_kept(node: Server, peer: Peer) -> None:
    """With many waiting clients a timeout of a tenth of a second is no whole one."""
    others = [Peer(node.address) for _ in range(150)]
    for other in others:
        other.send("GETJOB", "FROM", "nothing")
    started = time.monotonic()
    assert peer.ask("GETJOB", "TIMEOUT", 100, "FROM", "q") is None
    assert 0.09 < time.monotonic() - started < 0.9
    for other in others:
        other.sock.close()


def test_row_spent_jobs_make_room(peer: Peer) -> None:
    """When memory is short as many spent jobs as it takes are given up, before one command."""
    for _ in range(10):
        peer.ask("ADDJOB", "q", b"x" * 1_000_000, 0, "RETRY", 0)
    peer.ask("GETJOB", "COUNT", 10, "FROM", "q")
    assert peer.ask("CONFIG", "SET", "maxmemory", 5_000_000) == b"OK"
    assert peer.ask("NACK") == 0
    assert 0 < int(peer.ask("INFO", "jobs").split(b":")[1]) < 5


def test_row_admins(tmp_path: Path) -> None:
    """A user that is no admin may add jobs, and not end the node."""
    (tmp_path / "users").write_text('[ci]\npassword = "pw"\n')
    with Server(users=str(tmp_path / "users")) as server, Peer(server.address) as peer:
        peer.ask("AUTH", "ci", "pw")
        assert peer.ask("ADDJOB", "q", "x", 0)
        told = "NOPERM this user has no permissions to run the 'shutdown' command"
        assert error(peer.ask("SHUTDOWN")) == told


def test_row_redacted(peer: Peer, node: Server) -> None:
    """A monitor sees that a password was set, not which."""
    with Peer(node.address) as monitor:
        monitor.ask("MONITOR")
        peer.ask("CONFIG", "SET", "requirepass", "secret")
        assert monitor.read().endswith(b'] "CONFIG" "SET" "requirepass" "(redacted)"')


def test_row_before_the_login() -> None:
    """A long request before the login ends the conversation."""
    with Server(password="secret") as server, Peer(server.address) as peer:
        peer.raw(pack(*["x"] * 11))
        assert peer.rest() == b"-ERR Protocol error: unauthenticated multibulk length\r\n"


def test_row_protected_mode() -> None:
    """Everybody and no password do not go together, unless it is wanted so."""
    with pytest.raises(ValueError, match="protected mode"):
        Server("0.0.0.0")
    with Server("0.0.0.0", protected_mode=False) as server:
        assert Peer(f"127.0.0.1:{server.port}").__exit__() is None


def test_row_our_own_settings() -> None:
    """A command can be disabled; the setting is shown by its name and not among Disque's."""
    with Server(disable_commands="debug") as server, Peer(server.address) as peer:
        assert error(peer.ask("DEBUG", "SLEEP", 0)) == "ERR unknown command 'DEBUG'"
        assert peer.ask("CONFIG", "GET", "disable-commands") == [b"disable-commands", b"debug"]
        assert b"disable-commands" not in peer.ask("CONFIG", "GET", "*")


def test_row_restart(tmp_path: Path) -> None:
    """Queued jobs are queued after a restart, delayed ones still wait, pauses are kept."""
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        job = peer.ask("ADDJOB", "q", "x", 0)
        later = peer.ask("ADDJOB", "q", "x", 0, "RETRY", 0, "DELAY", 100)
        peer.ask("PAUSE", "q", "in")
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        assert show(peer, job)[b"state"] == b"queued"
        assert show(peer, later)[b"next-requeue-within"] > 90_000
        assert peer.ask("PAUSE", "q", "state") == b"in"


def test_row_misconf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that cannot be kept is not there, and PAUSE is refused like what writes."""
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        peer.ask("ADDJOB", "q", "x", 0)
        with monkeypatch.context() as broken:
            journal = server.node.store.journal
            broken.setattr(journal, "commit", lambda _work, done: done("no space", b""))
            misconf = "MISCONF Errors writing to the AOF file: no space"
            assert error(peer.ask("ADDJOB", "q", "y", 0)) == misconf
            assert peer.ask("QLEN", "q") == 1
            for words in (["PING"], ["PAUSE", "q", "in"], ["GETJOB", "FROM", "q"]):
                assert error(peer.ask(*words)) == misconf
            assert peer.ask("CLUSTER", "MYID") == server.node.id
        until(lambda: peer.ask("PING") == b"PONG")


def test_row_more_than_their_share(peer: Peer) -> None:
    """A reply stops at its limits; a request that is too large is told so."""
    for _ in range(3):
        peer.ask("ADDJOB", "q", "x", 0)
    peer.ask("CONFIG", "SET", "reply-jobs", 2)
    assert len(peer.ask("QPEEK", "q", 3)) == len(peer.ask("GETJOB", "COUNT", 3, "FROM", "q")) == 2
    peer.ask("CONFIG", "SET", "max-request", 1000)
    with Peer(":".join(map(str, peer.sock.getpeername()))) as other:
        other.raw(pack("PING", "x" * 2000))
        assert error(other.read()).startswith("ERR Protocol error: too big request")


def test_row_empty_queues_make_room(peer: Peer) -> None:
    """An ADDJOB that needs the room of empty queues gets it at once."""
    for n in range(1000):
        peer.ask("ACKJOB", peer.ask("ADDJOB", f"q{n}", "x", 0))
    peer.ask("CONFIG", "SET", "maxmemory", 2_000_000)
    assert len(peer.ask("ADDJOB", "q", "x", 0)) == 40
    assert len(peer.ask("QSCAN", "COUNT", 10_000)[1]) < 600


@pytest.mark.parametrize("store", ["memory", "valkey"])
def test_row_busyloop(store: str) -> None:
    """A scan of everything returns no more than other replies do, and all in several replies."""
    with ExitStack() as stack:
        url = stack.enter_context(valkey()).url if store == "valkey" else None
        node = stack.enter_context(Server(store=url, reply_jobs=100, reply_size=10_000))
        peer = stack.enter_context(Peer(node.address))
        jobs = {peer.ask("ADDJOB", f"{n:080}", "x" * 900, 0) for n in range(300)}
        for words in (["BUSYLOOP"], ["COUNT", -1], ["COUNT", 10**6]):
            ids = all_scanned(peer, "JSCAN", *words, most=250)
            assert set(ids) == jobs
            names = all_scanned(peer, "QSCAN", *words, most=250)
            assert len(set(names)) == 300
            shown = all_scanned(peer, "JSCAN", *words, "REPLY", "ALL", most=40)
            assert {job[1] for job in shown} == jobs
            assert {len(job[-1]) for job in shown} == {900}


def all_scanned(peer: Peer, *words: str | int, most: int) -> list[Any]:
    """What a scan finds, in several replies of at most this length."""
    cursor, found = peer.ask(*words)
    assert cursor != b"0"
    while cursor != b"0":
        assert len(found) > 0
        cursor, more = peer.ask(words[0], cursor, *words[1:])
        assert len(more) <= most
        found += more
    return list(found)


def test_row_too_many_queues(peer: Peer) -> None:
    """A GETJOB of 10,000 queues is served, one of more is refused and creates nothing."""
    names = [f"q{n}" for n in range(10_001)]
    peer.ask("ADDJOB", names[9999], "x", 0)
    assert error(peer.ask("GETJOB", "FROM", *names)) == "ERR GETJOB takes at most 10000 queues"
    assert peer.ask("GETJOB", "FROM", *names[:10_000])[0][0] == b"q9999"
    assert peer.ask("QSCAN", "COUNT", 100) == [b"0", [b"q9999"]]


@pytest.mark.parametrize("store", ["memory", "valkey"])
def test_row_queues_that_clients_only_asked_for(store: str) -> None:
    """The last 1,000 names are empty queues of the node that was asked, and take none of maxmemory.

    Those that clients block for exist beyond that, and are counted for the clients.
    """
    with ExitStack() as stack:
        url = stack.enter_context(valkey()).url if store == "valkey" else None
        node = stack.enter_context(Server(store=url))
        peer = stack.enter_context(Peer(node.address))
        assert peer.ask("GETJOB", "NOHANG", "FROM", *[f"q{n}" for n in range(1500)]) is None
        assert peer.ask("QSTAT", "q499") is None
        assert peer.ask("QSTAT", "q500")[3] == 0
        assert sorted(peer.ask("QSCAN", "BUSYLOOP")[1]) == sorted(
            b"q%d" % n for n in range(500, 1500)
        )
        assert peer.ask("GETJOB", "NOHANG", "FROM", "x" * 1025) is None
        assert peer.ask("QSTAT", "x" * 1025) is None
        assert b"registered_queues:1000\r" in peer.ask("INFO", "queues")
        with Peer(node.address) as other:
            other.send("GETJOB", "FROM", *[f"b{n}" for n in range(1001)])
            wait_for_blocked(peer, "b0", 1)
            assert peer.ask("QSTAT", "b0")[9] == 1
            assert len(peer.ask("QSCAN", "BUSYLOOP")[1]) == 1001
        until(lambda: peer.ask("QSTAT", "b0") is None)
        assert peer.ask("QSTAT", "b1000")[9] == 0
        if store == "memory":
            assert b"used_memory:1000000\r" in peer.ask("INFO", "memory")
        if url:
            second = stack.enter_context(Peer(stack.enter_context(Server(store=url)).address))
            assert second.ask("QSTAT", "b1000") is None
        assert peer.ask("DEBUG", "FLUSHALL") == b"OK"
        assert peer.ask("QSCAN", "BUSYLOOP") == [b"0", []]


def test_row_latency(peer: Peer) -> None:
    """Events are commands by their names, and what DOCTOR says of them is short."""
    disabled = b"Latency monitoring is disabled: "
    assert peer.ask("LATENCY", "DOCTOR").startswith(disabled)
    peer.ask("CONFIG", "SET", "latency-monitor-threshold", 5)
    assert (
        peer.ask("LATENCY", "DOCTOR") == b"No command took as long as latency-monitor-threshold.\n"
    )
    peer.ask("DEBUG", "SLEEP", "0.01")
    assert [event[0] for event in peer.ask("LATENCY", "LATEST")] == [b"debug"]
    peer.ask("CONFIG", "SET", "latency-monitor-threshold", 0)
    assert peer.ask("LATENCY", "DOCTOR").startswith(b"debug: 1 samples, worst 1")
    assert len(peer.ask("LATENCY", "GRAPH", "debug").splitlines()) == 2


def test_row_structsize(peer: Peer) -> None:
    """DEBUG STRUCTSIZE tells of what there is."""
    assert re.fullmatch(rb"bits:64 job:\d+", peer.ask("DEBUG", "STRUCTSIZE"))


def test_row_bgrewriteaof(tmp_path: Path) -> None:
    """What is kept moves on into new records, and nobody notices."""
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        for _ in range(5):
            peer.ask("ADDJOB", "q", "x", 0)
        assert peer.ask("BGREWRITEAOF") == b"Background append only file rewriting started"
        homes = server.node.store._homes
        until(lambda: homes.oldest() > 5)
        assert peer.ask("QLEN", "q") == 5
