"""INFO, COMMAND, SLOWLOG, LATENCY, DEBUG, CLUSTER and TIME."""

from __future__ import annotations

from pydisque.node import Server
from support.resp_peer import Connect, Peer, error, info, wait_for_blocked


def test_slowlog(peer: Peer) -> None:
    """Slow commands are kept, newest first, cut to 32 arguments of 128 bytes, up to a number."""
    peer.ask("DEBUG", "SLEEP", "0.02")
    (entry,) = peer.ask("SLOWLOG", "GET")
    assert (entry[0], entry[3]) == (0, [b"DEBUG", b"SLEEP", b"0.02"])
    assert entry[2] >= 20_000
    assert peer.ask("SLOWLOG", "RESET") == b"OK"
    peer.ask("CONFIG", "SET", "slowlog-log-slower-than", 0)
    peer.ask("PING", b"x" * 130)
    peer.ask("DEQUEUE", *["D-" + "0" * 8 + "-" + "0" * 24 + "-0000"] * 40)
    many, long = (entry[3] for entry in peer.ask("SLOWLOG", "GET", 2))
    assert long[1] == b"x" * 128 + b"... (2 more bytes)"
    assert len(many) == 32
    assert many[-1] == b"... (10 more arguments)"
    peer.ask("CONFIG", "SET", "slowlog-max-len", 2)
    peer.ask("PING")
    assert peer.ask("SLOWLOG", "LEN") == 2
    assert len(peer.ask("SLOWLOG", "GET", -1)) == 2
    assert "Unknown SLOWLOG subcommand" in error(peer.ask("SLOWLOG", "bogus"))


def test_latency(peer: Peer) -> None:
    """With a threshold set LATENCY tells which commands were slow, how often, how much."""
    assert b"disabled" in peer.ask("LATENCY", "DOCTOR")
    peer.ask("CONFIG", "SET", "latency-monitor-threshold", 20)
    assert peer.ask("LATENCY", "LATEST") == []
    assert peer.ask("LATENCY", "HISTORY", "debug") == []
    peer.ask("DEBUG", "SLEEP", "0.03")
    ((event, when, last, most),) = peer.ask("LATENCY", "LATEST")
    assert event == b"debug"
    assert most >= last >= 30
    assert peer.ask("LATENCY", "HISTORY", "debug") == [[when, last]]
    assert b"debug: 1 samples" in peer.ask("LATENCY", "DOCTOR")
    assert b"high" in peer.ask("LATENCY", "GRAPH", "debug")
    graph = error(peer.ask("LATENCY", "GRAPH", "x"))
    assert graph == "ERR No samples available for event 'x'"
    assert (peer.ask("LATENCY", "RESET", "x"), peer.ask("LATENCY", "RESET")) == (0, 1)


def test_info_tells_the_truth(node: Server, peer: Peer, connect: Connect) -> None:
    """The figures of INFO are those of this node."""
    waiting = connect()
    waiting.send("GETJOB", "FROM", "empty")
    wait_for_blocked(peer, "empty", 1)
    jobs = [peer.ask("ADDJOB", "q", b"x" * 100_000, 0) for _ in range(3)]
    peer.ask("ACKJOB", jobs[0])
    now = info(peer)
    assert (now["connected_clients"], now["blocked_clients"]) == ("2", "1")
    assert (now["registered_jobs"], now["registered_queues"]) == ("2", "2")
    assert int(now["used_memory_peak"]) >= int(now["used_memory"]) > 1_200_000
    assert now["tcp_port"] == str(node.port)
    assert now["cmdstat_addjob"].startswith("calls=3,usec=")
    assert now["cmdstat_ackjob"].startswith("calls=1,usec=")
    assert "cmdstat_nack" not in now
    assert now["total_connections_received"] == "2"
    assert int(now["total_net_input_bytes"]) > 300_000
    before = int(now["total_commands_processed"])
    peer.ask("PING")
    assert int(info(peer)["total_commands_processed"]) == before + 2
    assert peer.ask("CONFIG", "RESETSTAT") == b"OK"
    assert int(info(peer)["total_commands_processed"]) <= 2
    assert peer.ask("DEBUG", "FLUSHALL") == b"OK"
    assert info(peer)["registered_jobs"] == "0"


def test_sections_of_info(peer: Peer) -> None:
    """One section or all of them, in the order Disque has; unknown ones are empty."""
    sections = [line for line in peer.ask("INFO").decode().split("\r\n") if line[:1] == "#"]
    names = "Server Clients Memory Jobs Queues Persistence Stats CPU"
    assert sections == [f"# {name}" for name in names.split()]
    assert peer.ask("INFO", "JOBS") == b"# Jobs\r\nregistered_jobs:0\r\n"
    assert peer.ask("INFO", "bogus") == b""
    assert b"# Commandstats\r\ncmdstat_" in peer.ask("INFO", "all")
    assert error(peer.ask("INFO", "a", "b")) == "ERR syntax error"


def test_command(peer: Peer) -> None:
    """COMMAND lists all 32 commands with arity and flags; DOCS has a line about each."""
    listed = {entry[0]: entry[1:] for entry in peer.ask("COMMAND")}
    assert peer.ask("COMMAND", "COUNT") == len(listed) == 32
    assert listed[b"addjob"] == [-4, [b"write", b"denyoom", b"fast"], 0, 0, 0]
    assert peer.ask("COMMAND", "INFO", "PING", "bogus") == [[b"ping", *listed[b"ping"]], None]
    docs = peer.ask("COMMAND", "DOCS")
    assert len(docs) == 2 * 32
    assert all(b"." in entry[1] for entry in docs[1::2])
    assert peer.ask("COMMAND", "DOCS", "Ping", "bogus")[0] == b"ping"
    unknown = "ERR Unknown subcommand or wrong number of arguments."
    assert error(peer.ask("COMMAND", "bogus")) == unknown


def test_cluster_of_one(node: Server, peer: Peer) -> None:
    """CLUSTER answers for a node that is alone."""
    mine = peer.ask("CLUSTER", "MYID")
    assert peer.ask("HELLO") == [1, mine, [mine, b"", str(node.port).encode(), b"1"]]
    assert peer.ask("CLUSTER", "NODES") == b"%b :%d myself 0 0 connected\n" % (mine, node.port)
    assert b"cluster_known_nodes:1\r\ncluster_reachable_nodes:0" in peer.ask("CLUSTER", "INFO")
    assert peer.ask("CLUSTER", "SAVECONFIG") == b"OK"
    assert "forget myself" in error(peer.ask("CLUSTER", "FORGET", mine))
    assert error(peer.ask("CLUSTER", "FORGET", "f" * 40)) == f"ERR Unknown node {'f' * 40}"
    assert error(peer.ask("CLUSTER", "FORGET", "x")) == "ERR Invalid node identifier"
    assert error(peer.ask("CLUSTER", "MEET", "x", 1)) == "ERR Invalid node address specified: x:1"
    peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("CLUSTER", "RESET") == b"OK"
    assert (peer.ask("QLEN", "q"), peer.ask("CLUSTER", "MYID")) == (0, mine)
    assert peer.ask("CLUSTER", "RESET", "HARD") == b"OK"
    renewed = peer.ask("CLUSTER", "MYID")
    assert renewed != mine
    assert peer.ask("ADDJOB", "q", "x", 0)[2:10] == renewed[:8]


def test_debug(peer: Peer) -> None:
    """DEBUG flushes, sleeps and answers errors; nothing it does here ends the node."""
    assert error(peer.ask("DEBUG", "ERROR", "WORD a\r\nb")) == "WORD a  b"
    assert peer.ask("DEBUG", "SLEEP", "nonsense") == b"OK"
    assert b"job:" in peer.ask("DEBUG", "STRUCTSIZE")
    for word in ("SEGFAULT", "RESTART", "CRASH-AND-RECOVER", "ASSERT", "OOM", "LOADAOF", "x\0y"):
        shown = word.partition("\0")[0]
        assert error(peer.ask("DEBUG", word)) == (
            f"ERR Unknown DEBUG subcommand or wrong number of arguments for '{shown}'"
        )
    assert peer.ask("PING") == b"PONG"


def test_what_a_journal_is_asked(peer: Peer) -> None:
    """Commands about Disque's files answer as there is nothing to do or nothing to load."""
    assert peer.ask("BGREWRITEAOF") == b"Background append only file rewriting started"
    assert "only processed from AOF" in error(peer.ask("LOADJOB", "x"))


def test_time(peer: Peer) -> None:
    """TIME tells seconds and microseconds, and goes on."""
    one, two = peer.ask("TIME"), peer.ask("TIME")
    assert tuple(map(int, one)) <= tuple(map(int, two))
    assert int(one[1]) < 1_000_000
