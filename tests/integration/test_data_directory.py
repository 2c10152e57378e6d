"""`pydisque check`, `dump` and `load`: what they say of a directory, sound, busy or damaged."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from pydisque.node import Server
from pydisque.node.engine.job import ACTIVE, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.durable.records import pack
from pydisque.testing import Clock
from support import cli
from support.resp_peer import Peer

COMMAND = [sys.executable, "-m", "pydisque"]
HEAD = b'{"type":"pydisque-dump","version":1}\n'


def run(
    *args: str | Path, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *args], input=stdin, capture_output=True, timeout=60, check=False, cwd=cwd
    )


class InFolder(NamedTuple):
    """Commands that run in an empty folder."""

    folder: Path

    def run(self, *args: str, typed: bytes = b"") -> cli.Ended:
        return cli.run([], *args, typed=typed)


@pytest.fixture
def cli_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InFolder:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return InFolder(folder)


def fails(*args: str | Path, stdin: bytes = b"") -> str:
    """What a command that ends with 1 says last."""
    result = run(*args, stdin=stdin)
    assert result.returncode == 1
    return result.stderr.decode().splitlines()[-1]


def dumped(path: Path) -> list[bytes]:
    """The lines of a dump of a sound directory."""
    result = run("dump", path)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.splitlines(keepends=True)


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def fill(peer: Peer) -> list[bytes]:
    """Put jobs of all kinds on a node; the IDs of those in queue ``q``."""
    ids = [peer.ask("ADDJOB", "q", f"body {n}", 0) for n in range(5)]
    peer.ask("ADDJOB", "q", b"\xff\x00\n", 0, "DELAY", 100)
    peer.ask("ADDJOB", b"\xfe", "x", 0, "RETRY", 0)
    assert peer.ask("GETJOB", "FROM", b"\xfe")
    assert peer.ask("GETJOB", "COUNT", 2, "FROM", "q")
    assert peer.ask("NACK", ids[1]) == 1
    peer.ask("PAUSE", "held", "in")
    return ids


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The data directory of a node that has stopped."""
    path = tmp_path / "kept"
    with Server(data=path) as server, Peer(server.address) as peer:
        fill(peer)
    return path


def change(path: Path, sql: str, *values: object) -> None:
    """Change rows of a journal that nobody uses."""
    with closing(sqlite3.connect(path / "journal.db", isolation_level=None)) as db:
        assert db.execute(sql, values).rowcount


def make(path: Path, *rows: tuple[int, object]) -> None:
    """A journal that holds these rows."""
    assert run("load", path, stdin=HEAD).returncode == 0
    for row in rows:
        change(path, "INSERT INTO record VALUES (?, ?)", *row)


def job(number: int, ctime: int = 1, **fields: object) -> Job:
    made = Job(b"D-72821d12-%024d-05a1" % number, b"q", b"body", ctime, 2**40, 300)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


# Sound


def test_check_of_a_sound_directory(kept):
    """Check sums up what is there, ends with 0, and changes not a byte."""
    before = files(kept)
    result = run("check", kept)
    assert (result.returncode, result.stderr) == (0, b"")
    said = result.stdout.decode()
    for told in ("7: 4 queued, 3 active", "held (in) paused", "journal.db", "free"):
        assert told in said
    assert files(kept) == before


def test_what_programs_are_told(kept, tmp_path):
    """Check, and load, tell the same as JSON, of what is damaged too."""
    told = json.loads(run("check", kept, "--json").stdout)
    assert (told["jobs"], told["queues"], told["problems"]) == ({"active": 3, "queued": 4}, 3, [])
    assert told["paused"] == [{"name": "held", "pause": "in"}]
    done = run("load", tmp_path / "new", "--json", stdin=b"\n".join(dumped(kept)) + b"\n")
    nothing = {"jobs": 0, "queues": 0}
    loaded = {"loaded": {"jobs": 7, "queues": 3}, "skipped": nothing, "renamed": {}}
    assert json.loads(done.stdout) == loaded
    change(kept, "UPDATE record SET data = ? WHERE number = 2", b"nonsense")
    damaged = run("check", kept, "--json")
    assert damaged.returncode == 1
    assert json.loads(damaged.stdout)["problems"]


def test_dump_of_a_sound_directory(kept):
    """Dump writes a head, the queues and the jobs by age, and changes not a byte either."""
    before = files(kept)
    lines = list(map(json.loads, dumped(kept)))
    assert (lines[0]["type"], lines[0]["jobs"], lines[0]["queues"]) == ("pydisque-dump", 7, 3)
    assert [line["queue"] for line in lines[1:4]] == ["q", {"base64": "/g=="}, "held"]
    assert [line["jobs_in"] for line in lines[1:4]] == [6, 1, 0]
    states = [line["state"] for line in lines[4:]]
    assert states == ["active", "queued", "queued", "queued", "queued", "active", "active"]
    assert lines[9]["body"] == {"base64": "/wAK"}
    assert lines[9]["delay"] == 100
    assert lines[10]["spent"] is True
    assert files(kept) == before


def test_a_running_node(tmp_path):
    """Check and dump see what a running node has answered for, and it goes on undisturbed."""
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        fill(peer)
        assert run("check", tmp_path).returncode == 0
        running = dumped(tmp_path)
        assert peer.ask("ADDJOB", "q", "more", 0)
        assert len(dumped(tmp_path)) == len(running) + 1
    assert len(dumped(tmp_path)) == len(running) + 1


def test_a_node_that_was_killed(tmp_path):
    """What stands in SQLite's log only, as the node did not stop in order, is seen as well."""
    code = (
        "import os, sys; from pydisque.node import Server; from pydisque.client import Client\n"
        "with Server(data=sys.argv[1]) as server, Client(server.address) as client:\n"
        "    client.add_job('q', 'body'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=60)
    assert (tmp_path / "journal.db-wal").stat().st_size
    assert run("check", tmp_path).returncode == 0
    assert json.loads(dumped(tmp_path)[-1])["body"] == "body"


def test_a_directory_that_may_not_be_written(kept):
    """Neither needs more than to read."""
    kept.chmod(0o500)
    try:
        assert run("check", kept).returncode == 0
        assert dumped(kept)
    finally:
        kept.chmod(0o700)


def test_dump_load_dump(kept, tmp_path):
    """What was loaded is dumped as it was, but for the head; what is there is not loaded again."""
    told = dumped(kept)
    result = run("load", tmp_path / "new", stdin=b"".join(told))
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(b"loaded: 7 jobs, 3 queues\n")
    assert dumped(tmp_path / "new")[1:] == told[1:]
    assert run("check", tmp_path / "new").returncode == 0
    again = run("load", tmp_path / "new", stdin=b"".join(told))
    assert again.stdout == (
        b"loaded: 0 jobs, 0 queues\nskipped, as they were there: 7 jobs, 3 queues\n"
    )
    assert dumped(tmp_path / "new")[1:] == told[1:]


def test_a_job_given_back_for_later(tmp_path):
    """What waits after NACK with a delay waits on where it was loaded, with its counters."""
    clock = Clock()
    with clock.server(data=tmp_path / "old") as server, Peer(server.address) as peer:
        id_ = peer.ask("ADDJOB", "q", "body", 0)
        peer.ask("GETJOB", "FROM", "q")
        assert peer.ask("NACK", id_, "DELAY", 3600) == 1
    assert run("load", tmp_path / "new", stdin=b"".join(dumped(tmp_path / "old"))).returncode == 0
    clock.advance(3599)
    with clock.server(data=tmp_path / "new") as server, Peer(server.address) as peer:
        assert peer.ask("QLEN", "q") == 0
        clock.advance(1)
        job = [b"q", id_, b"body", b"nacks", 1, b"additional-deliveries", 0]
        assert peer.ask("GETJOB", "NOHANG", "WITHCOUNTERS", "FROM", "q") == [job]


def test_a_node_on_a_loaded_directory(tmp_path):
    """A node gives back what was loaded: order, leases, delays, counters, pauses."""
    with Server(data=tmp_path / "old") as server, Peer(server.address) as peer:
        ids = fill(peer)
        names = (b"nacks", b"retry", b"delay", b"ctime", b"state", b"body")
        before = {id_: shown(peer, id_, names) for id_ in ids}
    run("dump", tmp_path / "old", "--output", tmp_path / "jobs.jsonl")
    assert run("load", tmp_path / "new", tmp_path / "jobs.jsonl").returncode == 0
    with Server(data=tmp_path / "new") as server, Peer(server.address) as peer:
        assert {id_: shown(peer, id_, names) for id_ in ids} == before
        assert 290_000 < shown(peer, ids[0], [b"next-requeue-within"])[0] <= 300_250
        more = peer.ask("ADDJOB", "q", "more", 0)
        assert [it[1] for it in peer.ask("QPEEK", "q", 9)] == [*ids[1:], more]
        stat = peer.ask("QSTAT", "q")
        assert stat[stat.index(b"jobs-out") + 1] == 2
        assert peer.ask("PAUSE", "held", "state") == b"in"
        assert peer.ask("ACKJOB", *ids) == 5
    assert run("check", tmp_path / "new").returncode == 0


def shown(peer: Peer, id_: bytes, names: list[bytes]) -> list[object]:
    reply = peer.ask("SHOW", id_)
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    return [fields[name] for name in names]


def test_expired_jobs_come_along(tmp_path):
    """A job that expired since the dump is loaded, and the node sees to its end."""
    line = (
        b'{"type":"job","id":"D-72821d12-VhDNIQKLrK1GoJ8Tfo9u8wUa-05a1","queue":"q","body":"b",'
        b'"ctime":1000000000,"etime":9}\n'
    )
    assert run("load", tmp_path, stdin=HEAD + line).returncode == 0
    assert len(dumped(tmp_path)) == 2
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        assert peer.ask("GETJOB", "NOHANG", "FROM", "q") is None
    assert len([it for it in dumped(tmp_path) if b'"type":"job"' in it]) == 0


def test_a_dump_in_a_file(kept, tmp_path):
    """A dump written to a file is that of standard output, and nobody else's to read."""
    file = tmp_path / "jobs.jsonl"
    result = run("dump", kept, "-o", file)
    assert (result.returncode, result.stdout) == (0, b"")
    assert file.read_bytes() == b"".join(dumped(kept))
    assert file.stat().st_mode & 0o777 == 0o600


def test_dashes(kept, tmp_path):
    """A file that is - is standard input or output, and no file of that name is made."""
    result = run("dump", kept, "--output", "-", cwd=tmp_path)
    assert result.stdout == b"".join(dumped(kept))
    assert run("load", tmp_path / "new", "-", stdin=result.stdout, cwd=tmp_path).returncode == 0
    assert dumped(tmp_path / "new")[1:] == dumped(kept)[1:]
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "new"}


# What cannot be done


ADDRESSES = [
    "localhost:7711", "[::1]:7711", "::1", ":7711", "10.0.0.5:7711", "node1:7711,node2:7711",
    "user:password@node1:7711", "localhost:7711/", "disque://localhost:7711", "disques://node1",
    "DISQUE://node1", "unix:/tmp/disque.sock", "valkey:/localhost", "http://localhost",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "words",
    [
        "load ADDRESS", "load ADDRESS -", "check ADDRESS", "dump ADDRESS", "dump . -o ADDRESS",
        "serve --port 0 --data ADDRESS", "serve --port -1 --unixsocket ADDRESS",
        "migrate localhost:1 --to localhost:2 --journal ADDRESS",
    ],
)  # fmt: skip
def test_an_address_is_no_path(cli_in, words, address):
    """The address of a node where a path belongs is refused with what is allowed, and none made."""
    done = cli_in.run(*words.replace("ADDRESS", address).split(), typed=HEAD)
    assert (done.code, done.out) == (2, b"")
    assert "allowed is a" in done.err
    assert "loaded" not in done.err
    assert "password@" not in done.err or "serve" in words  # whose options are no secrets
    assert list(cli_in.folder.iterdir()) == []


def test_a_path_with_a_colon(kept, cli_in):
    """A path in which a slash comes first is one, whatever follows."""
    dump = b"".join(dumped(kept))
    for path in ("./localhost:7711", str(cli_in.folder / "a:1")):
        assert cli_in.run("load", path, typed=dump).text.startswith("loaded: 7 jobs, 3 queues\n")
        assert cli_in.run("check", path).code == 0


def test_a_bare_name_is_perhaps_a_host(kept, cli_in):
    """No directory is made for a bare name; one that is there is loaded into."""
    dump = b"".join(dumped(kept))
    done = cli_in.run("load", "node1", typed=dump)
    assert (done.code, done.out) == (2, b"")
    assert "there is no directory node1 here; allowed is a directory" in done.err
    assert list(cli_in.folder.iterdir()) == []
    (cli_in.folder / "node1").mkdir()
    assert cli_in.run("load", "node1", typed=dump).code == 0


def test_a_journal_of_a_migration_is_a_file(cli_in):
    """Standard output would forget what is on its way, so - is refused."""
    done = cli_in.run("migrate", "localhost:1", "--to", "localhost:2", "--journal", "-")
    assert (done.code, done.out) == (2, b"")
    assert "- is no file, and this must be one" in done.err
    assert list(cli_in.folder.iterdir()) == []


@pytest.mark.parametrize(
    "words", ["load URL", "check URL", "dump URL", "serve --port 0 --store URL"]
)
def test_a_node_is_no_valkey(words):
    """A node of Disque that is named as a Valkey is told as such."""
    with Server() as server:
        url = f"redis://{server.address}"
        done = cli.run([], *words.replace("URL", url).split(), typed=HEAD)
    assert (done.code, done.out) == (1, b"")
    assert done.err.endswith(f"{server.address} is no Valkey; a node of Disque answers so\n")


@pytest.mark.parametrize("command", ["check", "dump"])
def test_no_journal(tmp_path, command):
    """A place without a journal is told as such, and nothing is made there."""
    assert fails(command, tmp_path / "none") == (
        f"Error: {tmp_path / 'none'}: not a data directory: there is no journal.db"
    )
    (tmp_path / "journal.db-wal").touch()
    assert fails(command, tmp_path).endswith("no journal.db, though journal.db-wal is there")
    assert list(tmp_path.iterdir()) == [tmp_path / "journal.db-wal"]


@pytest.mark.parametrize("command", ["check", "dump", "load"])
@pytest.mark.parametrize("sql", ["PRAGMA user_version = 7", "CREATE TABLE theirs (a)"])
def test_another_database(tmp_path, command, sql):
    """A database of another program is not taken for a journal, and stays as it is."""
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute(sql)
    before = (tmp_path / "journal.db").read_bytes()
    told = fails(command, tmp_path, stdin=HEAD)
    assert told.endswith("not a journal of this version of pydisque")
    assert (tmp_path / "journal.db").read_bytes() == before


def test_loading_where_a_node_runs(tmp_path):
    """Nothing is loaded into a directory in use; who uses it is told."""
    with Server(data=tmp_path) as server, Peer(server.address) as peer:
        peer.ask("ADDJOB", "q", "x", 0)
        told = fails("load", tmp_path, stdin=HEAD)
    assert told == f"Error: nothing was loaded: {tmp_path}: in use by process {os.getpid()}"


@pytest.mark.parametrize("there", [True, False])
def test_a_garbage_line(kept, tmp_path, there):
    """One bad line, and nothing of a dump is loaded, nor a directory made; its number is told."""
    target = kept if there else tmp_path / "new"
    before = dumped(kept)
    new = before[-1].replace(b"D-", b"d-"), before[-2].replace(b"05a1", b"0001")
    told = fails("load", target, stdin=b"".join([*before, new[1], new[0]]))
    assert told.startswith("Error: nothing was loaded: line 13: a job that cannot be: its ID")
    assert dumped(kept) == before
    assert not (tmp_path / "new").exists()


def test_a_dump_cut_short(kept, tmp_path):
    """A dump whose end is missing is not taken for a whole one."""
    told = fails("load", tmp_path / "new", stdin=b"".join(dumped(kept)[:-1]))
    assert "line 10: the end comes after 6 jobs, where the head line says 7" in told


def test_a_dump_that_cannot_be_written(kept, tmp_path):
    """Where a dump cannot be written this is told in one line."""
    told = fails("dump", kept, "--output", tmp_path / "none" / "jobs")
    assert told.startswith("Error: cannot write the dump: ")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("check", ["DIR", "pydisque check /var/lib/pydisque"]),
        ("dump", ["--output", "--skip-damaged", "pydisque dump /var/lib/pydisque | gzip"]),
        ("load", ["[FILE]", "pydisque load /var/lib/pydisque jobs.jsonl"]),
    ],
)
def test_help(command, words):
    """Every command explains itself and shows how it is used."""
    result = run(command, "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    assert [word for word in words if word not in result.stdout.decode()] == []


# Damage


def damaged(path: Path) -> list[str]:
    """What check says is wrong, after it has seen that dump refuses and a node does not start."""
    result = run("check", path)
    assert result.returncode == 1
    assert result.stderr.decode().startswith(f"Error: {path}: damaged: ")
    problems = [
        line
        for line in result.stdout.decode().splitlines()
        if line.partition(" ")[0] in {"record", "records", "database:", "node"} and ": " in line
    ]
    assert f"{problems[0]}; `pydisque check` tells all ({len(problems)})" in fails("dump", path)
    assert run("dump", path).stdout == b""
    return problems


def salvaged(path: Path) -> list[bytes]:
    """The lines of the jobs that can be read of a damaged journal; they can be loaded."""
    result = run("dump", "--skip-damaged", path)
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[:-1] == damaged(path)
    new = path.parent / "salvaged"
    assert run("load", new, stdin=result.stdout).returncode == 0
    assert run("check", new).returncode == 0
    return [line for line in result.stdout.splitlines() if b'"type":"job"' in line]


def test_a_damaged_record(kept):
    """A byte that flipped in a record is told with its number; the others can still be had."""
    [data] = rows(kept, 3)
    change(kept, "UPDATE record SET data = ? WHERE number = 3", data[:-1] + bytes([data[-1] ^ 1]))
    change(kept, "UPDATE record SET data = ? WHERE number = 2", b"short")
    change(kept, "UPDATE record SET data = 'text' WHERE number = 4")
    assert damaged(kept)[:3] == [
        "record 2: it is cut short",
        "record 3: its checksum is wrong",
        "record 4: it is no blob",
    ]
    assert len(salvaged(kept)) == 4
    result = run("serve", "--port", "0", "--data", kept)
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    assert b"cannot serve: the journal is damaged: record 2" in result.stderr
    assert b"`pydisque check`" in result.stderr
    assert b"`pydisque dump --skip-damaged`" in result.stderr


def rows(path: Path, *numbers: int) -> Iterator[bytes]:
    with closing(sqlite3.connect(path / "journal.db", isolation_level=None)) as db:
        for number in numbers:
            yield db.execute("SELECT data FROM record WHERE number = ?", (number,)).fetchone()[0]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A journal of many pages: records 1 to 400, a job in each."""
    path = tmp_path / "many"
    queue = Queue(b"q", 1, 1)
    make(path, (1, pack(5, [job(1)], queues=[queue])))
    with closing(sqlite3.connect(path / "journal.db")) as db, db:
        more = ((n, pack(5, [job(n, n)])) for n in range(2, 401))
        db.executemany("INSERT INTO record VALUES (?, ?)", more)
    return path


def test_a_sound_journal_of_many_pages(many):
    """The journal that the next test damages is sound."""
    assert run("check", many).returncode == 0


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_a_damaged_page(many, which):
    """A page that SQLite cannot read costs the records in it and no others, told as a range."""
    file = many / "journal.db"
    data = bytearray(file.read_bytes())
    leaves = [at for at in range(0, len(data), 4096) if at > 4096 and data[at] == 13]
    at = {"first": leaves[0], "middle": leaves[len(leaves) // 2], "last": leaves[-1]}[which]
    data[at : at + 8] = b"\x55" * 8
    file.write_bytes(data)
    problems = damaged(many)
    assert problems[0].startswith("database: ")
    assert len([line for line in problems if "cannot be read" in line]) == 1
    assert 350 < len(salvaged(many)) < 400


def test_a_damaged_node_id(kept):
    """When only the node's ID cannot be read, all jobs can still be had."""
    with closing(sqlite3.connect(kept / "journal.db")) as db:
        [[page]] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'meta'")
    with (kept / "journal.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x55" * 4096)
    assert "node ID: cannot be read" in damaged(kept)
    assert len(salvaged(kept)) == 7


def test_a_damaged_head(kept):
    """When the database cannot be opened at all, there is one line about it."""
    with (kept / "journal.db").open("r+b") as file:
        file.write(b"\x55" * 100)
    assert "journal.db: file is not a database" in fails("check", kept)
    assert "journal.db: file is not a database" in fails("dump", "--skip-damaged", kept)
    assert "journal.db: file is not a database" in fails("load", kept, stdin=HEAD)


def test_records_that_make_no_sense(tmp_path):
    """Records whose checksum is right are looked into as well: what they tell must be possible."""
    queue = Queue(b"q", 1, 1)
    make(
        tmp_path / "odd",
        (1, pack(5, [job(1), job(2, 2), job(3, 3)], queues=[queue])),
        (2, pack(5, [job(1, 4), job(5, 5, state=ACTIVE), job(6, 6, id=b"x" * 40)])),
        (3, pack(5, changed=[job(9, 99)], gone=[3, 77])),
        (4, pack(5, gone=[77])),
        (5, pack(5, [job(7, 7, queue=b"none")], queues=[Queue(b"twin", 1, 1)])),
        (6, pack(5, [job(8, 8)])[:-5]),
    )
    assert damaged(tmp_path / "odd") == [
        "record 4: ends a job again (ctime 77)",
        "record 6: its checksum is wrong",
        "record 3: changes a job that stands in no record (ctime 99)",
        "record 5: queue b'twin': its serial 1 is another's as well",
        "record 2: job D-72821d12-000000000000000000000001-05a1: its ID is another's as well",
        (
            f"record 2: job {job(5).id.decode()}: it is active with a retry time, "
            "but never to be queued again"
        ),
        f"record 2: job {'x' * 40}: its ID is none",
        "record 5: queue b'none': it has jobs, but stands in no record",
    ]
    assert len(salvaged(tmp_path / "odd")) == 3


def test_changes_before_their_job(tmp_path):
    """A change may stand before the record that its job moved on to: that is no damage."""
    moved = (2, pack(5, [job(1)], queues=[Queue(b"q", 1, 1)]))
    make(tmp_path, (1, pack(5, changed=[job(1), job(2, 2)])), moved, (3, pack(5, gone=[2])))
    assert run("check", tmp_path).returncode == 0


def test_nothing_is_loaded_into_a_damaged_directory(kept):
    """What is loaded must be found again: a damaged journal takes nothing."""
    change(kept, "UPDATE record SET data = ? WHERE number = 2", b"short")
    told = fails("load", kept, stdin=HEAD)
    assert told.startswith("Error: nothing was loaded: the journal is damaged: record 2")
