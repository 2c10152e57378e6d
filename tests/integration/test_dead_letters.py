"""Dead letters, from programs and from the command line: seen, put back, purged, never lost."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pydisque import dead_letters
from pydisque.client import Client
from pydisque.dead_letters import DeadLetter
from pydisque.errors import LetterTakenError
from pydisque.protocol.envelope import EARLIER, unwrap
from support.servers import Deployment, ask, free_port, running, serving, unique, until

server = serving("memory", "disque", "disque-3")


FIRST_ID = "D-0c0c0c0c-AAAAAAAAAAAAAAAAAAAAAAAA-05a1"
NOBODY = "D-0c0c0c0c-BBBBBBBBBBBBBBBBBBBBBBBB-05a1"


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses) as client:
        yield client


def letter(queue: str, body: bytes = b"body", error: str = "ValueError: no card") -> DeadLetter:
    """One that was tried four times."""
    return DeadLetter(
        queue, FIRST_ID, 3, 1, error, "Traceback\n  here", "2025-06-01T12:00:00+00:00",
        body, {"trace": "00-1"},
    )  # fmt: skip


@pytest.fixture
def bury(client: Client, queue: str) -> Callable[..., str]:
    """Adds a dead letter of this test's queue; its ID."""

    def add(dead_queue: str | None = None, died_in: str | None = None, **parts: bytes | str) -> str:
        dead = letter(died_in or queue, **parts)
        return client.add_job(dead_queue or f"{queue}:dead", dead.to_body()).decode()

    return add


@pytest.fixture
def dead(server: Deployment) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `pydisque dead`."""

    def run(*args: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pydisque", "dead", *args],
            env=os.environ | {"DISQUE_NODES": ",".join(server.addresses)},
            capture_output=True, text=True, timeout=60, check=False, input=answer,
        )  # fmt: skip

    return run


def bodies(client: Client, queue: str, count: int) -> list[bytes]:
    """Take so many jobs from a queue, wherever they are in the cluster."""
    found: list[bytes] = []
    until(
        lambda: (
            found.extend(job.body for job in client.get_job([queue], 100, count))
            or len(found) >= count
        )
    )
    return sorted(found)


# From programs


def test_a_letter_is_read_where_it_lies(client, queue, bury):
    """Peeking gives letters whole and leaves them; what is no letter comes without one."""
    letter_id = bury(body=b"\x00\xff")
    other = client.add_job(f"{queue}:dead", "else").decode()
    found = {filed.id: filed for filed in dead_letters.peek(client, f"{queue}:dead", 10)}
    assert found[letter_id].letter == letter(queue, body=b"\x00\xff")
    assert found[other] == (other, f"{queue}:dead", None, b"else")
    assert client.qlen(f"{queue}:dead") == 2
    assert f"{queue}:dead" in dead_letters.dead_queues(client)


def test_a_job_comes_back_as_it_was(client, queue, bury):
    """A job put back has its body, its headers and all attempts before it; its letter is gone."""
    letter_id = bury(body=b"\x00\xff")
    [filed] = dead_letters.find(client, [letter_id])
    [new_id] = dead_letters.replay(client, [filed], retry=7, ttl=70)
    [job] = client.get_jobs([queue], timeout=5000)
    assert (job.id, job.nacks, job.additional_deliveries) == (new_id, 0, 0)
    assert unwrap(job.body) == (b"\x00\xff", {"trace": "00-1"})
    info = client.show(new_id)
    assert (info.retry, info.ttl > 60) == (7, True)
    assert dead_letters.find(client, [letter_id]) == [None]


def test_the_count_of_attempts_is_forgotten(queue):
    """What a job was counted elsewhere does not come back with it."""
    dead = letter(queue)._replace(headers={"trace": "1", EARLIER: {"nacks": 9}})
    read = DeadLetter.of_body(dead.to_body())
    assert read.headers == {"trace": "1"}
    assert unwrap(read.reborn()) == (b"body", {"trace": "1"})


def test_a_letter_is_purged_only_after_its_job_is_there(client, queue, bury):
    """A queue that takes no jobs keeps its letters, and the others come back."""
    closed = unique("closed")
    kept, done = bury(died_in=closed), bury()
    client.pause(closed, kw_in=True)
    refused, added = dead_letters.replay(client, dead_letters.find(client, [kept, done]))
    assert isinstance(refused, Exception)
    assert isinstance(added, bytes)
    assert [f and f.id for f in dead_letters.find(client, [kept, done])] == [kept, None]


def test_what_is_no_letter_is_refused(client, queue, bury):
    """Nothing is put back when one of the jobs given is no dead letter."""
    ids = [bury(), client.add_job(f"{queue}:dead", "else").decode()]
    with pytest.raises(ValueError, match="no dead letter"):
        dead_letters.replay(client, dead_letters.find(client, ids))
    assert (client.qlen(queue), client.qlen(f"{queue}:dead")) == (0, 2)


@pytest.mark.parametrize(
    "change", [{"error": None}, {"nacks": "3"}, {"extra": 1}, {"queue": ["q"]}, {"id": 5}]
)
def test_a_story_that_is_none(change):
    """A header that looks like a letter's and is none makes no dead letter."""
    body = letter("q").to_body()
    inner, headers = unwrap(body)
    headers[dead_letters.HEADER].update(change)
    assert DeadLetter.of_body(body) is not None
    assert DeadLetter.of_body(dead_letters.wrap(inner, headers)) is None


# list


def test_list(client, queue, bury, dead):
    """A line for each letter, with its ID, its queue, when, how often and why; none is taken."""
    letter_id = bury()
    result = dead("list", queue)
    assert (result.returncode, result.stderr) == (0, "")
    head, line = result.stdout.splitlines()
    assert head.split() == ["id", "queue", "died", "nacks", "redelivered", "error"]
    told = [letter_id, queue, "2025-06-01T12:00:00Z", "3", "1", "ValueError:", "no", "card"]
    assert line.split() == told
    assert dead("list", queue).stdout == result.stdout


def test_list_of_all_queues(queue, bury, dead):
    """Without a queue all that end in :dead are listed."""
    ids = {bury(), bury(dead_queue=f"{queue}-2:dead")}
    lines = dead("list", "--count", "10000").stdout.splitlines()
    assert ids <= {line.split()[0] for line in lines}


def test_list_as_json(queue, bury, dead):
    """An object a line; a body that is no text goes by another name."""
    ids = [bury(body="ä\x1b".encode()), bury(body=b"\xff")]
    lines = dead("list", queue, "--json").stdout.splitlines()
    first, second = sorted(map(json.loads, lines), key=lambda told: ids.index(told["id"]))
    assert first == {
        "id": ids[0], "dead_queue": f"{queue}:dead", "queue": queue, "job_id": FIRST_ID,
        "nacks": 3, "additional_deliveries": 1, "error": "ValueError: no card",
        "traceback": "Traceback\n  here", "at": "2025-06-01T12:00:00+00:00",
        "headers": {"trace": "00-1"}, "body": "ä\x1b",
    }  # fmt: skip
    assert base64.b64decode(second["body_base64"]) == b"\xff"
    assert "body" not in second


def test_list_some(queue, bury, dead):
    """Of many letters the first are listed, and how many more there are; or those of an error."""
    for number in range(5):
        bury(error=f"OSError: {number}")
    few = dead("list", queue, "--count", "2")
    assert len(few.stdout.splitlines()) == 3
    assert few.stderr == "and 3 more: see --count\n"
    assert "OSError: 3" in dead("list", queue, "--error", "r: 3").stdout.splitlines()[1]


def test_list_cuts_errors(queue, bury, dead):
    """Of an error that is long a table has the beginning, and JSON all."""
    bury(error="e" * 100_000)
    done = dead("list", queue)
    assert f"{'e' * 200}…" in done.stdout
    assert len(done.stdout) < 1000
    assert json.loads(dead("list", queue, "--json").stdout)["error"] == "e" * 100_000


def test_list_commands_no_terminal(queue, bury, dead):
    """What a letter says cannot command the terminal, nor be taken for markup."""
    bury(error="\x1b[2J[red]x\n")
    assert "\\x1b[2J[red]x\\n" in dead("list", queue).stdout


# show


def test_show(queue, bury, dead):
    """All of a letter: JSON laid out, and what would command a terminal made harmless."""
    letter_id = bury(body='{"a": ["\\u001b", "ä"]}'.encode(), error="E: \x1b[31m")
    said = dead("show", letter_id).stdout
    for part in (letter_id, FIRST_ID, queue, "Traceback\n  here", '"trace": "00-1"', "ä"):
        assert part in said
    assert "E: \\x1b[31m" in said
    assert '{\n  "a": [\n' in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"one\ntwo\x07", "one\ntwo\\x07\n"),
        (b"ab\xff", f"00000000  {'61 62 ff':47}  ab.\n"),
        (b"[" * 50_000, "[[["),
        (b"\xff" * 5000, "and 904 bytes more"),
    ],
)
def test_show_bodies(bury, dead, body, shown):
    """A body is shown as text if it is any, else as bytes, and not without end."""
    assert shown in dead("show", bury(body=body)).stdout


def test_show_as_json(queue, bury, dead):
    """The same object as in a list."""
    letter_id = bury()
    told = dead("list", queue, "--json").stdout
    assert dead("show", letter_id, "--json").stdout == told


# replay


def test_replay_by_id(client, queue, bury, dead):
    """The jobs with these IDs are put back, each once; the others stay."""
    ids = [bury(body=b"%d" % n) for n in range(3)]
    result = dead("replay", ids[0], ids[0], ids[2])
    assert (result.returncode, result.stdout, result.stderr) == (0, "put back: 2 jobs\n", "")
    assert [unwrap(body)[0] for body in bodies(client, queue, 2)] == [b"0", b"2"]
    assert dead("list", queue, "--json").stdout.count("\n") == 1


def test_ids_from_standard_input(client, queue, bury, dead):
    """An ID that is - is those of standard input; purging them asks nobody, so --yes is needed."""
    ids = [bury(body=b"%d" % n) for n in range(3)]
    done = dead("show", "-", "--json", answer=f"{ids[0]}\n{ids[1]}\n")
    assert [json.loads(line)["body"] for line in done.stdout.splitlines()] == ["0", "1"]
    done = dead("replay", "-", answer=f"{ids[0]}\n")
    assert (done.returncode, done.stdout) == (0, "put back: 1 job\n")
    assert bodies(client, queue, 1)[0].endswith(b"\n0")
    done = dead("purge", "-", answer=f"{ids[1]}\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "- goes with --yes" in done.stderr
    done = dead("purge", "-", ids[2], "--yes", answer=f"{ids[1]}\n")
    assert (done.returncode, done.stdout) == (0, "purged: 2 dead letters\n")
    assert dead("replay", "-", answer="").stdout == "put back: 0 jobs\n"


def test_replay_by_error(client, queue, bury, dead):
    """Letters that do not match are not touched, nor what is no letter."""
    for error in ("TimeoutError: 1", "ValueError", "TimeoutError: 2"):
        bury(error=error, body=error.encode())
    other = client.add_job(f"{queue}:dead", "else")
    before = {job_id: client.show(job_id).nacks for job_id in client.iter_jobs(f"{queue}:dead")}
    result = dead("replay", "--queue", queue, "--error", "Timeout")
    assert (result.returncode, result.stdout) == (0, "put back: 2 jobs\n")
    assert result.stderr == f"no dead letters, and left alone: 1 job in {queue}:dead\n"
    assert len(bodies(client, queue, 2)) == 2
    left = until(lambda: {j for j in before if client.show(j) is not None})
    assert other in left
    for job_id in left:
        info = client.show(job_id)
        if info.state != b"acked":
            assert (info.nacks, info.additional_deliveries) == (0, 0)


def test_replay_some_elsewhere(client, queue, bury, dead):
    """So many and no more, into another queue, with options of ADDJOB."""
    for _ in range(3):
        bury()
    to = f"{queue}-again"
    result = dead("replay", "--queue", queue, "--count", "2", "--to", to, "--retry", "0")
    assert (result.returncode, result.stdout, result.stderr) == (0, "put back: 2 jobs\n", "")
    assert len(bodies(client, to, 2)) == 2
    assert dead("list", queue, "--json").stdout.count("\n") == 1


def test_replay_with_a_delay(client, queue, bury, dead):
    """A delayed job is there, and not yet queued."""
    bury()
    assert dead("replay", "--queue", queue, "--delay", "500").returncode == 0
    [info] = until(lambda: list(client.iter_jobs(queue, reply="all")))
    assert (info.state, info.delay) == (b"active", 500)


def test_replay_from_a_shared_queue(client, queue, bury, dead):
    """Of a dead queue that several share, --queue chooses those that died in that one."""
    shared = unique("graves")
    bury(dead_queue=shared)
    bury(dead_queue=shared, died_in=f"{queue}-other")
    result = dead("replay", "--queue", queue, "--dead-queue", shared)
    assert result.stdout == "put back: 1 job\n"
    assert len(bodies(client, queue, 1)) == 1


def test_replay_thousands(client, queue, dead):
    """Batch after batch, all of them, each once."""
    client.add_jobs(
        f"{queue}:dead",
        [letter(queue, b"%d" % n).to_body() for n in range(2500)],
        asynchronous=True,
    )
    result = dead("replay", "--queue", queue)
    assert (result.returncode, result.stdout) == (0, "put back: 2500 jobs\n")
    found = {unwrap(body)[0] for body in bodies(client, queue, 2500)}
    assert found == {b"%d" % n for n in range(2500)}


def test_two_replays_at_once(server, client, queue, dead):
    """Of two replays of one queue each letter's job is added by one of them."""
    bodies_added = [b"%d" % n for n in range(1000)]
    client.add_jobs(
        f"{queue}:dead", [letter(queue, body).to_body() for body in bodies_added], asynchronous=True
    )
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: dead("replay", "--queue", queue), range(2)))
    assert [(r.returncode, r.stderr) for r in results] == [(0, "")] * 2
    counts = [int(re.findall(r"put back: (\d+)", r.stdout)[0]) for r in results]
    assert sum(counts) == 1000
    found = bodies(client, queue, 1000) + [j.body for j in client.get_job([queue], 300, 10)]
    assert sorted(unwrap(body)[0] for body in found) == sorted(bodies_added)


def test_a_letter_that_is_taken(client, queue, bury, dead):
    """A letter that a consumer has is left to it, and the exit code tells so when it was named."""
    letter_id = bury()
    [filed] = dead_letters.find(client, [letter_id])
    client.dequeue(letter_id)
    [error] = dead_letters.replay(client, [filed])
    assert isinstance(error, LetterTakenError)
    result = dead("replay", letter_id)
    assert (result.returncode, result.stdout) == (1, "put back: 0 jobs\n")
    assert "another replay has it" in result.stderr
    assert client.qlen(queue) == 0
    assert dead_letters.find(client, [letter_id]) == [filed]


@pytest.mark.parametrize("calls", range(5))
@pytest.mark.parametrize("name", ["_each", "purge"])
def test_a_replay_that_is_cut_off_loses_no_letter(monkeypatch, name, calls):
    """Wherever a replay ends, its letter is queued again after its RETRY, or its job is added."""
    with running("memory") as deployment, Client(deployment.addresses) as client:
        letter_id = client.add_job("q:dead", letter("q").to_body(), retry=1).decode()
        [filed] = dead_letters.find(client, [letter_id])
        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            cut_off(patched, name, calls)
            dead_letters.replay(client, [filed])
        until(lambda: client.qlen("q:dead") or client.show(letter_id) is None)
        dead_letters.replay(client, [f for f in dead_letters.find(client, [letter_id]) if f])
        assert client.show(letter_id) is None
        added = client.qpeek("q", 9)
        assert {unwrap(job.body)[0] for job in added} == {b"body"}
        assert len(added) == (2 if name == "purge" and calls == 0 else 1)


def cut_off(patched: pytest.MonkeyPatch, name: str, calls: int) -> None:
    """End the program at a function of the replay, after so many calls."""
    function, left = getattr(dead_letters, name), iter(range(calls))

    def cut(*args: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return function(*args)

    patched.setattr(dead_letters, name, cut)


def test_replay_that_is_refused(client, queue, bury, dead):
    """A letter whose queue takes no jobs is left, told, and the exit code is 1."""
    letter_id = bury()
    client.pause(queue, kw_in=True, kw_bcast=True)
    result = dead("replay", "--queue", queue)
    assert (result.returncode, result.stdout) == (1, "put back: 0 jobs\n")
    assert result.stderr.startswith(f"{letter_id}: left where it is: PAUSED")
    assert letter_id in dead("list", queue).stdout


# purge


def test_purge_asks_first(queue, bury, dead):
    """Without a yes nothing is purged."""
    bury()
    for answer in ("n\n", ""):
        result = dead("purge", "--queue", queue, answer=answer)
        assert result.returncode == 1
        assert "purge 1 dead letter for good?" in result.stdout
    assert "no card" in dead("list", queue).stdout


def test_purge(client, queue, bury, dead):
    """Letters that match are gone for good; how many is told; the others stay."""
    gone, kept = bury(error="Timeout"), bury()
    other = client.add_job(f"{queue}:dead", "else").decode()
    result = dead("purge", "--queue", queue, "--error", "Timeout", answer="y\n")
    assert result.returncode == 0
    assert result.stdout.endswith("purged: 1 dead letter\n")
    said = dead("list", queue).stdout
    assert gone not in said
    assert kept in said
    assert other in said
    assert client.qlen(queue) == 0


def test_purge_by_id(queue, bury, dead):
    """With --yes nobody is asked."""
    ids = [bury(), bury()]
    result = dead("purge", *ids, "--yes")
    assert (result.returncode, result.stdout) == (0, "purged: 2 dead letters\n")


# What goes wrong


def test_jobs_that_are_no_letters(client, queue, dead):
    """A job that is no dead letter, and one nobody knows, are told by ID and left alone."""
    job_id = client.add_job(queue, "alive").decode()
    for command in (("show",), ("replay", NOBODY), ("purge", NOBODY, "--yes")):
        result = dead(*command, job_id)
        assert result.returncode == 1
        assert f"{job_id}: no dead letter, but a job of {queue}\n" in result.stderr
        assert (f"{NOBODY}: no node knows such a job" in result.stderr) == (NOBODY in command)
    assert bodies(client, queue, 1) == [b"alive"]


@pytest.mark.parametrize("command", [("list",), ("replay", "--queue"), ("purge", "--queue")])
def test_a_queue_nobody_knows(dead, command):
    """It is told in one plain line."""
    result = dead(*command, "nowhere")
    assert result.returncode == 1
    assert result.stderr == "Error: there is no queue nowhere:dead\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["show", "D-1"], "D-1 is no job ID"),
        (["replay"], "give either IDs of letters, or --queue or --dead-queue"),
        (["purge", FIRST_ID, "--queue", "q"], "give either IDs of letters, or --queue"),
        (["replay", FIRST_ID, "--count", "2"], "--count goes with --queue"),
        (["replay", "--queue", "q", "--delay", "9", "--ttl", "9"], "delay must be less than ttl"),
        (["list", "--nodes", "a b"], "'a b' is no node"),
    ],
)
def test_wrong_words(args, told):
    """What is not understood is told with exit code 2, whether there is a node or not."""
    result = subprocess.run(
        [sys.executable, "-m", "pydisque", "dead", *args],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize("command", [["list"], ["show", FIRST_ID], ["replay", "--queue", "q"]])
def test_no_node(command):
    """That none answers is told in one plain line."""
    result = subprocess.run(
        [sys.executable, "-m", "pydisque", "dead", *command, "--nodes", f"localhost:{free_port()}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 3
    assert re.fullmatch(r"Error: no node answered .*refused.*\n", result.stderr)


def test_an_interruption_loses_nothing():
    """Interrupted at any time, every job is back or its letter is left; how many is told."""
    with running("memory") as deployment, Client(deployment.addresses) as client:
        wanted = {b"%d" % n for n in range(5000)}
        client.add_jobs("q:dead", [letter("q", body).to_body() for body in wanted])
        process = subprocess.Popen(
            [sys.executable, "-m", "pydisque", "dead", "replay", "--queue", "q"],
            env=os.environ
            | {"DISQUE_NODES": deployment.addresses[0], "PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until(lambda: ask(deployment.addresses[0], "QLEN", "q"))
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=30)
        assert process.returncode == 1, wrong
        assert re.fullmatch(r"put back: \d+ jobs\n", said)
        back = {unwrap(job.body)[0] for job in client.qpeek("q", 10_000)}
        left = {DeadLetter.of_body(job.body).body for job in client.qpeek("q:dead", 10_000)}
        assert back | left == wanted
        assert left
