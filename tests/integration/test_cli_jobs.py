"""Jobs from the shell: added, taken, answered, looked at; on our node and on a real Disque."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import IO

import pytest

from pydisque.client import Client
from pydisque.node import Server
from pydisque.protocol.envelope import wrap
from support.cli import Ended, run, started
from support.servers import Deployment, until

pytestmark = pytest.mark.parametrize("server", ["memory", "disque"], indirect=True)

NOBODY = "D-0c0c0c0c-BBBBBBBBBBBBBBBBBBBBBBBB-05a1"
NASTY = b"\x1b[2J[red]\x07\xff\n"


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses) as client:
        yield client


@pytest.fixture
def cli(server: Deployment) -> Callable[..., Ended]:
    def call(*args: str, typed: bytes | str = b"") -> Ended:
        return run(server.addresses, *args, typed=typed)

    return call


def bodies(client: Client, queue: str) -> list[bytes]:
    """The bodies of all that is queued, the oldest first."""
    return [job.body for job in client.qpeek(queue, 100_000)]


def words_of(done: Ended) -> str:
    """What was written, its lines filled anew."""
    return " ".join(done.text.split())


# add


def test_add(cli, client, queue):
    """Each body is a job, whose ID is told."""
    done = cli("add", queue, "one", "", "zwö")
    assert (done.code, done.err, done.shape) == (0, "", "ID\nID\nID\n")
    assert bodies(client, queue) == [b"one", b"", "zwö".encode()]
    assert [job.id for job in client.qpeek(queue, 3)] == done.out.split()


def test_add_any_bytes(cli, client, queue):
    """A shell's words need be no UTF-8, neither as body nor as queue."""
    assert cli("add", f"{queue}\udcfe", "\udcff").code == 0
    assert client.qpeek(queue.encode() + b"\xfe", 1)[0].body == b"\xff"


def test_add_files(cli, client, queue, tmp_path):
    """All of a file is one job; so is all of standard input, when that is named."""
    (tmp_path / "a").write_bytes(b"\x00\n\xff\n")
    done = cli("add", queue, "--file", str(tmp_path / "a"), "-f", "-", typed=b"x\ny\n")
    assert (done.code, done.shape) == (0, "ID\nID\n")
    assert bodies(client, queue) == [b"\x00\n\xff\n", b"x\ny\n"]


def test_add_lines(cli, client, queue):
    """Each line of standard input is a job, an empty one and one without an end too, in order."""
    lines = [b"%d" % n for n in range(3500)] + [b"", b"\xff\r", b"x" * 600_000, b"end"]
    done = cli("add", queue, typed=b"\n".join(lines))
    assert (done.code, done.err, done.text) == (0, "", "added: 3504 jobs\n")
    assert bodies(client, queue) == lines


def test_add_dash_is_standard_input(cli, client, queue):
    """Where a body is - each line of standard input is a job, as it is without any body."""
    done = cli("add", queue, "-", typed="".join(f"{n}\n" for n in range(1, 5001)))
    assert done == (0, b"added: 5000 jobs\n", "")
    assert bodies(client, queue) == [b"%d" % n for n in range(1, 5001)]


def test_add_dash_among_bodies(cli, client, queue, tmp_path):
    """The lines of standard input come in the place of -, and a file may hold a - of its own."""
    (tmp_path / "dash").write_bytes(b"-")
    words = ("add", queue, "first", "-", "last", "--file", str(tmp_path / "dash"))
    assert cli(*words, typed=b"one\ntwo") == (0, b"added: 5 jobs\n", "")
    assert bodies(client, queue) == [b"first", b"one", b"two", b"last", b"-"]


def test_add_a_body_that_is_a_dash(cli, client, queue):
    """Standard input is the way in for it, as the help says."""
    assert cli("add", queue, typed=b"-\n").code == 0
    assert bodies(client, queue) == [b"-"]
    assert "A body that is - itself goes in by standard input." in words_of(cli("add", "--help"))


@pytest.mark.parametrize(
    "words", ["- -", "- --file -", "--file - --file -", "x - y -", "-f - -- -"]
)
def test_standard_input_is_read_once(cli, client, queue, words):
    """A second - is refused, and nothing of the first is added."""
    done = cli("add", queue, *words.split(), typed=b"line\n")
    assert (done.code, done.out) == (2, b"")
    assert done.err.endswith("- is given twice; expected once, as standard input is read once\n")
    assert client.qlen(queue) == 0


def test_lines_of_other_systems(cli, client, queue):
    """Only LF ends a line of bodies: a CR, a NUL and bytes that are no text come in as they are."""
    assert cli("add", queue, "-", typed=b"a\r\nb\0c\n\xff").code == 0
    assert bodies(client, queue) == [b"a\r", b"b\0c", b"\xff"]


def test_add_a_file_that_is_a_directory(cli, client, queue, tmp_path):
    """It is refused before anything is added."""
    done = cli("add", queue, "body", "--file", str(tmp_path))
    assert (done.code, done.out) == (2, b"")
    assert done.err.endswith(f"'{tmp_path}': Is a directory\n")
    assert client.qlen(queue) == 0


def test_add_nothing(cli, client, queue):
    """No line is no job, and that is fine."""
    assert cli("add", queue) == (0, b"added: 0 jobs\n", "")
    assert client.qlen(queue) == 0


def test_add_as_json(cli, client, queue):
    """Of standard input too each ID is told then, and how many there are to people only."""
    done = cli("add", queue, "--json", typed=b"a\nb\n")
    assert (done.code, done.err) == (0, "added: 2 jobs\n")
    told = [json.loads(line) for line in done.text.splitlines()]
    ids = [job.id.decode() for job in client.qpeek(queue, 2)]
    assert told == [{"id": job_id, "queue": queue} for job_id in ids]


def test_add_with_options(cli, client, queue):
    """What ADDJOB takes is passed on."""
    words = ("--delay", "50", "--ttl", "500", "--retry", "0", "--replicate", "1", "--timeout", "1")
    job_id = cli("add", queue, "body", *words, "--async").text.strip()
    info = client.show(job_id)
    assert (info.delay, info.retry, info.repl, 490 < info.ttl <= 500) == (50, 0, 1, True)


def test_add_that_is_refused(cli, client, queue):
    """The first line that is refused ends it; what is told to be added is, and no more."""
    done = cli("add", queue, "--maxlen", "1500", typed=b"x\n" * 5000)
    assert (done.code, done.text) == (1, "added: 1500 jobs\n")
    refused = "Error: not added: line 1501 and 499 others up to line 2000: MAXLEN"
    assert done.err.startswith(refused)
    assert client.qlen(queue) == 1500


def test_add_to_a_paused_queue(cli, client, queue):
    """Of some jobs the first that is refused is told, with what to do."""
    client.pause(queue, kw_in=True)
    done = cli("add", queue, "body")
    assert (done.code, done.text) == (1, "")
    assert done.err == (
        "Error: not added: job 1: PAUSED Queue paused in input, try later; "
        "`pydisque resume QUEUE` ends the pause\n"
    )


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["q", "x", "--delay", "9", "--ttl", "9"], "delay must be less than ttl"),
        (["q", "x", "--retry", "0", "--replicate", "2"], "replicate must be 1"),
        (["q", "--file", "/nowhere"], "/nowhere"),
        (["q", "x", "--ttl", "0"], "--ttl"),
        ([], "QUEUE"),
    ],
)
def test_add_wrongly(cli, args, told):
    """What cannot be is refused with exit code 2, before anything is read or sent."""
    done = cli("add", *args, typed=b"line\n")
    assert (done.code, done.out) == (2, b"")
    assert told in done.err


def test_lines_go_in_as_they_come(server, client, queue):
    """A line that came is added although its pipe stays open."""
    with started(server.addresses, "add", queue) as process:
        process.stdin.write(b"first\nsec")
        process.stdin.flush()
        until(lambda: bodies(client, queue) == [b"first"])
        out, err = process.communicate(b"ond\n", timeout=30)
    assert (process.returncode, out, err) == (0, b"added: 2 jobs\n", b"")
    assert bodies(client, queue) == [b"first", b"second"]


def test_ctrl_c_while_lines_are_added(server, client, queue):
    """It ends after a batch, and as many jobs are there as it says."""
    with started(server.addresses, "add", queue, bufsize=0) as process:
        feeding = threading.Thread(target=feed, args=(process.stdin,))
        feeding.start()
        until(lambda: client.qlen(queue) > 2000)
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait(30) == 1
        feeding.join()
    [added] = re.findall(rb"^added: (\d+) jobs\n$", out)
    assert client.qlen(queue) == int(added)
    assert bodies(client, queue) == [b"%d" % n for n in range(int(added))]
    assert err == b"\nAborted!\n"


def test_a_node_that_ends_while_lines_are_added(server, monkeypatch):
    """What was added is told, and from which line on that was not; the exit code is 3."""
    monkeypatch.setattr("pydisque.cli.options.nodes.DEADLINE", 0.01)
    with Server() as ours:

        class Lines(io.BytesIO):
            def read1(self, _size: int = -1) -> bytes:
                if self.tell():
                    ours.close()
                return self.readline() + self.readline()

        done = run([ours.address], "add", "q", typed=Lines(b"a\nb\nc\nd\n"))
    assert (done.code, done.text) == (3, "added: 2 jobs\n")
    told = r"Error: not (known to be )?added: line 3 and 1 other up to line 4: no node answered "
    assert re.match(told, done.err)


def feed(pipe: IO[bytes]) -> None:
    """Numbers, a line each, as long as somebody reads them."""
    with suppress(BrokenPipeError):
        for start in count(0, 1000):
            pipe.write(b"".join(b"%d\n" % n for n in range(start, start + 1000)))


# get


def test_get(cli, client, queue):
    """A job is taken and shown; where none is the exit code is 1."""
    client.add_job(queue, '{"to": "ä"}')
    done = cli("get", queue)
    assert (done.code, done.err) == (0, "")
    assert done.shape == (
        'id  queue  nacks  redelivered  body\nID  QUEUE  0  0  {"to": "ä"}\n'
    )  # fmt: skip
    assert client.qlen(queue) == 0
    assert cli("get", queue) == (1, b"", "")


def test_get_from_several(cli, client, queue):
    """One from each queue in turn, and at most so many."""
    client.add_jobs(queue, ["a", "b"])
    client.add_jobs(f"{queue}-2", ["c", "d"])
    assert cli("get", queue, f"{queue}-2", "--count", "3", "--raw").text == "a\nc\nb\n"


def test_get_as_json(cli, client, queue):
    """An object a line, with the counters; a body that is no text goes by another name."""
    first, second = client.add_jobs(queue, [wrap(b"x", {"trace": "1"}), b"\xff"])
    client.nack_job(client.get_job([queue])[0].id)
    done = cli("get", queue, "--count", "5", "--json")
    told = {line["id"]: line for line in map(json.loads, done.text.splitlines())}
    assert told[first.decode()] == {
        "id": first.decode(), "queue": queue, "nacks": 1, "additional_deliveries": 0,
        "headers": {"trace": "1"}, "body": "x",
    }  # fmt: skip
    assert base64.b64decode(told[second.decode()]["body_base64"]) == b"\xff"


def test_get_and_ack(cli, client, queue):
    """With --ack the job is gone; its body comes byte for byte, with a line end."""
    job_id = client.add_job(queue, NASTY)
    assert cli("get", queue, "--raw", "--ack").out == NASTY + b"\n"
    assert client.show(job_id) is None


def test_get_waits(server, client, queue):
    """With --timeout it waits for a job."""
    with started(server.addresses, "get", queue, "--timeout", "30", "--raw") as process:
        until(lambda: (stats := client.qstat(queue)) and stats.blocked)
        client.add_job(queue, "body")
        assert process.communicate(timeout=30) == (b"body\n", b"")
    assert process.returncode == 0


def test_get_that_nobody_reads(server, client, queue):
    """Jobs that could not be written are back in their queue at once, and it ends quietly."""
    client.add_jobs(queue, ["a", "b"])
    reader, writer = os.pipe()
    os.close(reader)
    with started(server.addresses, "get", queue, "--count", "2", "--ack", stdout=writer) as process:
        os.close(writer)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, b"")
    assert sorted(bodies(client, queue)) == [b"a", b"b"]


# peek


def test_peek(cli, client, queue):
    """The oldest come first, none is taken, long bodies are cut."""
    client.add_jobs(queue, ["one", "x" * 300])
    done = cli("peek", queue)
    assert (done.code, done.err) == (0, "")
    assert done.shape == f"id  body\nID  one\nID  {'x' * 199}…\n"
    assert client.qlen(queue) == 2
    assert cli("peek", queue, "--newest", "--count", "1", "--raw").text == "x" * 300 + "\n"


def test_peek_as_json(cli, client, queue):
    """An object a line."""
    job_id = client.add_job(queue, "ä\x1b").decode()
    told = json.loads(cli("peek", queue, "--json").text)
    assert told == {"id": job_id, "queue": queue, "body": "ä\x1b"}


def test_peek_at_nothing(cli, client, queue):
    """A queue that is not there is told; one that is empty has no jobs, which is no error."""
    done = cli("peek", queue)
    assert (done.code, done.out) == (1, b"")
    assert done.err == f"Error: there is no queue {queue}\n"
    client.ack_job(client.add_job(queue, "body"))
    assert cli("peek", queue) == (0, b"no jobs\n", "")
    assert cli("peek", queue, "--json") == (0, b"", "")


# show


def test_show(cli, client, queue):
    """All that is known of a job, its headers apart and its body laid out."""
    job_id = client.add_job(queue, wrap(b'{"a":["\\u001b"]}', {"trace": "1"}), delay=3000, ttl=7200)
    said = re.sub(r"made +\S+", "made  TIME", cli("show", job_id.decode()).shape)
    said = re.sub(r"1h 59m|2h", "TTL", re.sub(r"49m \d+s|50m", "DELAY", said))
    assert said == (
        "id  ID\nqueue  QUEUE\nstate  active\nmade  TIME\nttl  TTL left\nretry  5m\n"
        "delay  DELAY\nnext  in DELAY\nnacks  0\nredelivered  0\ncopies  1 wanted, perhaps on 1\n"
        '\nheaders:\n{\n  "trace": "1"\n}\n'
        '\nbody, 16 bytes of JSON:\n{\n  "a": [\n  "\\u001b"\n  ]\n}\n'
    )


def test_show_as_json(cli, client, queue):
    """Every field has its name, its value and its type."""
    job_id = client.add_job(queue, b"\xff")
    info = client.show(job_id)
    told = json.loads(cli("show", job_id.decode(), "--json").text)
    for name in ("repl", "ctime", "delay", "retry", "nacks", "additional_deliveries"):
        assert told[name] == getattr(info, name)
    assert (told["id"], told["queue"], told["state"]) == (job_id.decode(), queue, "queued")
    assert told["body_base64"] == "/w=="
    assert told["nodes_delivered"] == [each.decode() for each in info.nodes_delivered]


def test_show_raw(cli, client, queue):
    """The body byte for byte and nothing else, headers and all."""
    body = wrap(NASTY, {"trace": "1"})
    job_id = client.add_job(queue, body)
    assert cli("show", job_id.decode(), "--raw").out == body


def test_show_some(cli, client, queue):
    """Those that are known are shown; the others are told, and the exit code is 1."""
    job_id = client.add_job(queue, "body").decode()
    done = cli("show", NOBODY, job_id, "--json")
    assert (done.code, done.err) == (1, f"{NOBODY}: no node knows such a job\n")
    assert json.loads(done.text)["id"] == job_id


# jobs


def test_show_from_standard_input(cli, client, queue):
    """An ID that is - is those of standard input, between the others; what is none is told."""
    ids = [job_id.decode() for job_id in client.add_jobs(queue, ["a", "b", "c", "d"])]
    done = cli("show", ids[0], "-", ids[3], "--raw", typed=f"{ids[1]}\r\n\n{ids[2]}")
    assert done == (0, b"abcd", "")
    done = cli("show", "-", "--raw", typed=f"{ids[0]}\nnothing\n")
    assert (done.code, done.out) == (2, b"")
    assert "line 2: nothing is no job ID" in done.err


def test_jobs(cli, client, queue):
    """Those of a queue, queued or not."""
    taken, _ = client.add_jobs(queue, ["a", "b"], retry=600)
    client.get_job([queue])
    done = cli("jobs", queue)
    head, *lines = re.sub(r"\d+h \d+m|\d+m \d+s|\d+m|1d", "T", done.shape).splitlines()
    assert head == "id  queue  state  nacks  redelivered  ttl  next  body"
    assert sorted(lines) == [
        "ID  QUEUE  active  0  0  T  in T  a",
        "ID  QUEUE  queued  0  0  T  in T  b",
    ]
    assert cli("jobs", queue, "--state", "active", "--ids").out == taken + b"\n"


def test_jobs_as_json(cli, client, server, queue):
    """All of each, and the node that has it."""
    job_id = client.add_job(queue, "body")
    told = json.loads(cli("jobs", queue, "--json").text)
    assert (told["id"], told["node"], told["body"]) == (
        job_id.decode(), server.addresses[0], "body",
    )  # fmt: skip


def test_jobs_within_limits(cli, client, queue):
    """So many and no more, and that there are more is told; 0 is all."""
    client.add_jobs(queue, map(str, range(1500)))
    some = cli("jobs", queue, "--limit", "150", "--ids")
    assert (len(some.text.splitlines()), some.err) == (150, "and more: see --limit\n")
    every = cli("jobs", queue, "--limit", "0", "--json")
    assert {json.loads(line)["body"] for line in every.text.splitlines()} == {
        str(n) for n in range(1500)
    }
    assert every.err == cli("jobs", queue, "--limit", "1500").err == ""


def test_jobs_of_nobody(cli, queue):
    """That there are none is told to people; programs read no line."""
    assert cli("jobs", queue) == (0, b"no jobs\n", "")
    assert cli("jobs", queue, "--json") == (0, b"", "")


def test_a_list_that_is_not_read_to_its_end(server, client, queue):
    """A reader that goes away ends it quietly."""
    client.add_jobs(queue, ["x" * 100] * 2000)
    with started(server.addresses, "jobs", queue, "--limit", "0", "--json") as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


# ack and the like


@pytest.mark.parametrize(
    ("command", "said", "left"),
    [
        ("ack", "acknowledged: 1 job\n", None),
        ("nack", "given back: 1 job\n", b"queued"),
        ("enqueue", "queued: 1 job\n", b"queued"),
        ("working", "put off: 1 job\n", b"active"),
        ("delete", "deleted: 1 job\n", None),
    ],
)
def test_answers(cli, client, queue, command, said, left):
    """What is said of a job that was taken is done, and told."""
    client.add_job(queue, "body")
    job_id = client.get_job([queue])[0].id
    assert cli(command, job_id.decode()) == (0, said.encode(), "")
    info = client.show(job_id)
    assert (info and info.state) == left


def test_dequeue(cli, client, queue):
    """A job is taken out of its queue; once it is, that is in vain."""
    job_id = client.add_job(queue, "body").decode()
    assert cli("dequeue", job_id) == (0, b"taken out: 1 job\n", "")
    done = cli("dequeue", job_id)
    assert (done.code, done.text) == (1, "taken out: 0 jobs\n")
    assert done.err == f"{job_id}: not known, or not queued\n"


@pytest.mark.parametrize("command", ["ack", "nack", "working", "enqueue", "dequeue", "delete"])
def test_answers_for_nobody(cli, command):
    """A job that is not known is told, and the exit code is 1."""
    done = cli(command, NOBODY)
    assert done.code == 1
    assert done.err.startswith(f"{NOBODY}: ")
    assert done.text.endswith(": 0 jobs\n")


def test_nack_with_a_delay(cli, client, server, queue):
    """Our node takes it; a real Disque does not, which is told in plain words."""
    client.add_job(queue, "body")
    job_id = client.get_job([queue])[0].id.decode()
    done = cli("nack", job_id, "--delay", "500")
    if server.kind == "memory":
        assert done == (0, b"given back: 1 job\n", "")
        assert client.show(job_id).next_requeue_within > 400_000
    else:
        assert (done.code, done.text) == (1, "given back: 0 jobs\n")
        assert done.err == f"{job_id}: the node knows no NACK with a delay\n"


def test_answers_from_standard_input(cli, client, queue):
    """With - IDs are read line by line, thousands of them, and what came of each is told."""
    ids = [job_id.decode() for job_id in client.add_jobs(queue, map(str, range(2500)))]
    done = cli("ack", "-", "--json", typed="\n".join([NOBODY, *ids]))
    assert (done.code, done.err.splitlines()[-1]) == (1, "acknowledged: 2500 jobs")
    told = [json.loads(line) for line in done.text.splitlines()]
    assert told == [{"id": NOBODY, "result": 0}, *({"id": i, "result": 1} for i in ids)]
    assert client.qlen(queue) == 0


def test_answers_from_both(cli, client, queue):
    """IDs of arguments and of standard input go together; a second - is refused, and acks none."""
    ids = [job_id.decode() for job_id in client.add_jobs(queue, ["a", "b", "c"])]
    assert cli("ack", ids[0], "-", "-", typed=ids[1]).code == 2
    assert client.qlen(queue) == 3
    assert cli("ack", ids[0], "-", ids[1], typed=ids[2]) == (0, b"acknowledged: 3 jobs\n", "")


def test_complaints_are_bounded(cli):
    """Of many that are not known some are told, and how many more there are."""
    ids = [NOBODY.replace("BBBB-", f"{n:04d}-") for n in range(50)]
    done = cli("ack", "-", typed="\n".join(ids))
    assert (done.code, len(done.err.splitlines())) == (1, 21)
    assert done.err.endswith("and 30 more\n")


@pytest.mark.parametrize(("typed", "told"), [("D-1", "D-1"), (999 * "x", f"{80 * 'x'}…")])
def test_a_line_that_is_no_id(cli, client, queue, typed, told):
    """It is told with its number and exit code 2, and nothing of its batch is sent."""
    job_id = client.add_job(queue, "body").decode()
    done = cli("ack", "-", typed=f"{job_id}\n{typed}\n")
    assert done.code == 2
    assert f"line 2: {told} is no job ID" in done.err
    assert client.show(job_id).state == b"queued"


def test_lines_that_are_blank(cli, client, queue):
    """They are nothing, as what `echo "$IDS"` writes when there are no IDs."""
    job_id = client.add_job(queue, "body").decode()
    assert cli("ack", "-", typed="\n") == (0, b"acknowledged: 0 jobs\n", "")
    assert cli("ack", "-", typed=f"\n{job_id}\r\n\n") == (0, b"acknowledged: 1 job\n", "")


# What others wrote


def far_down(depth: int, size: int) -> str:
    """JSON of so many bytes, all of which are so deep."""
    return "[" * depth + ",".join(["0"] * (size // 2)) + "]" * depth


@pytest.mark.parametrize("depth", [90, 900])
@pytest.mark.parametrize("command", ["show", "peek", "jobs"])
def test_what_would_be_long_laid_out(cli, client, queue, command, depth):
    """A body and headers of JSON that is nested deeply are shown as they are, also for programs."""
    body = f'\0pydisque1 {{"h":{far_down(depth, 400_000)}}}\n{far_down(depth, 400_000)}'
    job_id = client.add_job(queue, body).decode()
    for form in ((), ("--json",)):
        done = cli(command, job_id if command == "show" else queue, *form)
        assert done.code == 0
        assert len(done.out) < 3 * len(body)


def test_names_that_are_long(cli, client, queue):
    """One long name pads no other line, and is there as a whole."""
    names = [f"{queue}{n}" for n in range(20)] + [f"{queue}{'x' * 100_000}"]
    for name in names:
        client.add_job(name, "body")
    done = cli("queues", f"*{queue[-12:]}*")
    assert len(done.text) < 2 * len(names[-1])
    assert names[-1] in done.text


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_nothing_commands_the_terminal(cli, client, queue, form):
    """Bodies and names of queues are shown so that no byte of them reaches a terminal as it is."""
    name = queue.encode() + NASTY
    job_id = client.add_job(name, NASTY).decode()
    given = name.decode(errors="surrogateescape")
    for command in (
        ("peek", given), ("show", job_id), ("jobs", given), ("stats", given),
        ("queues", f"*{queue[-12:]}*"), ("pause", given), ("resume", given), ("get", given),
    ):  # fmt: skip
        done = cli(*command, *form)
        assert done.code == 0, command
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f-\xff]", done.out), command
        assert (b"\\x1b[2J[red]\\x07\\xff\\n" in done.out) != bool(form), command
