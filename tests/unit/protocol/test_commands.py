"""What each command sends, what it refuses, how it reads its reply."""

from __future__ import annotations

from array import array
from http import HTTPStatus

import pytest

from pydisque.node.wire import resp
from pydisque.protocol import commands, validation
from pydisque.protocol.command import (
    SLICE,
    Resend,
    first_slice,
    goes_on,
    raw,
    shortened,
    without_timeout,
)
from support.fake_node import job_info, queue_stats

ID = "D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (commands.add_job("q", "b"), "ADDJOB q b 200"),
        (commands.add_job("q", "b", 0), "ADDJOB q b 0"),
        (commands.add_job("q", "b", 1, 2, 3, 4, 5, 6, True),
         "ADDJOB q b 1 REPLICATE 2 DELAY 3 RETRY 4 TTL 5 MAXLEN 6 ASYNC"),
        (commands.add_job("q", "b", delay=0, retry=0), "ADDJOB q b 200 DELAY 0 RETRY 0"),
        (commands.add_job("q", "b", **{"async": True}), "ADDJOB q b 200 ASYNC"),
        (commands.add_job("q", "b", asynchronous=False), "ADDJOB q b 200"),
        (commands.get_job(["a", "b"]), "GETJOB FROM a b"),
        (commands.get_job(("a",), 5, 6, True, True),
         "GETJOB NOHANG TIMEOUT 5 COUNT 6 WITHCOUNTERS FROM a"),
        (commands.get_job(["a"], timeout=0), "GETJOB TIMEOUT 0 FROM a"),
        (commands.ack_job(ID, ID), f"ACKJOB {ID} {ID}"),
        (commands.ack_job(), "ACKJOB"),
        (commands.nack_job(ID), f"NACK {ID}"),
        (commands.nack_job(ID, delay=0), f"NACK {ID}"),
        (commands.nack_job(ID, ID, delay=60), f"NACK {ID} {ID} DELAY 60"),
        (commands.fast_ack(ID), f"FASTACK {ID}"),
        (commands.working(ID), f"WORKING {ID}"),
        (commands.enqueue(ID), f"ENQUEUE {ID}"),
        (commands.enqueue(ID, uncounted=True), f"ENQUEUE {ID} UNCOUNTED"),
        (commands.dequeue(ID), f"DEQUEUE {ID}"),
        (commands.del_job(ID), f"DELJOB {ID}"),
        (commands.show(ID), f"SHOW {ID}"),
        (commands.qlen("q"), "QLEN q"),
        (commands.qstat("q"), "QSTAT q"),
        (commands.qpeek("q", -3), "QPEEK q -3"),
        (commands.qpeek("q", 0), "QPEEK q 0"),
        (commands.pause("q", True, None, None, None, None, True), "PAUSE q in bcast"),
        (commands.pause("q", kw_out=True, kw_all=True, kw_none=True, kw_state=True),
         "PAUSE q out all none state"),
        (commands.qscan(), "QSCAN 0"),
        (commands.qscan(b"12", 0, True, 0, 0, 0),
         "QSCAN 12 COUNT 0 BUSYLOOP MINLEN 0 MAXLEN 0 IMPORTRATE 0"),
        (commands.jscan(), "JSCAN 0"),
        (commands.jscan("7", 0, True, "q", ["queued", "ACKED"], "all"),
         "JSCAN 7 COUNT 0 BUSYLOOP QUEUE q STATE queued STATE ACKED REPLY all"),
        (commands.jscan(state="active"), "JSCAN 0 STATE active"),
        (commands.hello(), "HELLO"),
        (commands.info(), "INFO"),
        (commands.ping(), "PING"),
    ],
)  # fmt: skip
def test_words(command, words):
    """A command is sent in these words; zeros are values, only what is None is left out."""
    sent = [a.decode() if isinstance(a, bytes) else str(a) for a in command.args]
    assert " ".join(sent) == words


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: commands.add_job("q", "b", -1), ValueError, "timeout must be 0 or more, not -1"),
        (lambda: commands.add_job("q", "b", True), TypeError, "timeout must be an int, not True"),
        (lambda: commands.add_job("q", "b", 1.5), TypeError, "timeout must be an int, not 1.5"),
        (lambda: commands.add_job("q", "b", "x"), TypeError, "timeout must be an int, not 'x'"),
        (lambda: commands.add_job("q", "b", "1.5"), TypeError, "timeout must be an int"),
        (lambda: commands.add_job("q", "b", "-1"), ValueError, "timeout must be 0 or more"),
        (lambda: commands.add_job("q", "b", None), TypeError, "timeout must be an int, not None"),
        (lambda: commands.add_job("q", None), TypeError, "job must be str, bytes"),
        (lambda: commands.add_job("q", True), TypeError, "job must be str, bytes"),
        (lambda: commands.add_job("q", {}), TypeError, "job must be str, bytes"),
        (lambda: commands.add_job(None, "b"), TypeError, "queue_name must be str, bytes"),
        (lambda: commands.add_job("q", "b", replicate=0), ValueError,
         "replicate must be between 1 and 65535, not 0"),
        (lambda: commands.add_job("q", "b", replicate=65536), ValueError, "replicate must be"),
        (lambda: commands.add_job("q", "b", delay=-1), ValueError, "delay must be 0 or more"),
        (lambda: commands.add_job("q", "b", retry=-1), ValueError, "retry must be 0 or more"),
        (lambda: commands.add_job("q", "b", ttl=0), ValueError, "ttl must be 1 or more, not 0"),
        (lambda: commands.add_job("q", "b", maxlen=0), ValueError, "maxlen must be 1 or more"),
        (lambda: commands.add_job("q", "b", ttl=2**63), ValueError, "ttl must be"),
        (lambda: commands.add_job("q", "b", delay=5, ttl=5), ValueError,
         "delay must be less than ttl, which is 5, not 5"),
        (lambda: commands.add_job("q", "b", delay=86400), ValueError, "delay must be less"),
        (lambda: commands.add_job("q", "b", retry=0, replicate=2), ValueError,
         "replicate must be 1 with retry=0"),
        (lambda: commands.add_job("q", "b", asinc=True), TypeError, "'asinc'"),
        (lambda: commands.get_job([]), ValueError, "queues must hold at least one name"),
        (lambda: commands.get_job("q"), TypeError, "queues must be a list, such as ['mail']"),
        (lambda: commands.get_job(b"q"), TypeError, "queues must be a list, such as ['mail']"),
        (lambda: commands.get_job(None), TypeError, "queues must be a list, such as ['mail']"),
        (lambda: commands.get_job([None]), TypeError, "each of queues must be str"),
        (lambda: commands.get_job(["q"], timeout=-1), ValueError, "timeout must be 0 or more"),
        (lambda: commands.get_job(["q"], count=0), ValueError, "count must be 1 or more, not 0"),
        (lambda: commands.ack_job(["x"]), TypeError, "given one by one"),
        (lambda: commands.working(None), TypeError, "a job ID is str or bytes"),
        (lambda: commands.show(3), TypeError, "a job ID is str or bytes"),
        (lambda: commands.qpeek("q", None), TypeError, "count must be an int"),
        (lambda: commands.pause("q"), ValueError, "pause needs one of kw_in, kw_out"),
        (lambda: commands.qscan("x"), ValueError, "cursor must be 0 or a cursor from"),
        (lambda: commands.qscan(-1), ValueError, "cursor must be between 0"),
        (lambda: commands.qscan(None), TypeError, "cursor must be an int"),
        (lambda: commands.qscan(count="x"), TypeError, "count must be an int"),
        (lambda: commands.jscan(state=["gone"]), ValueError, "state must be one of wait-repl"),
        (lambda: commands.jscan(state=[1]), TypeError, "state must be one of"),
        (lambda: commands.jscan(reply="some"), ValueError, "reply must be one of all, id"),
        (lambda: raw((), repr), TypeError, "a command needs a name"),
        (lambda: raw(("monitor",), repr), ValueError, "MONITOR answers without end"),
        (lambda: raw(("QLEN", None), repr), TypeError, "each argument must be str"),
    ],
)  # fmt: skip
def test_bad_arguments(call, error, text):
    """A bad argument is refused by name, with the value given and what is allowed."""
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


@pytest.mark.parametrize("body", ["é", b"\0", bytearray(b"x"), memoryview(b"x")])
def test_bodies(body):
    """A body may be whatever redis-py can encode."""
    assert commands.add_job("q", body).args[2] == body


@pytest.mark.parametrize(("body", "text"), [(1, "1"), (1.5, "1.5"), (HTTPStatus.OK, "200")])
def test_bodies_that_are_numbers(body, text):
    """A number is sent as its text."""
    assert commands.add_job("q", body).args[2] == text


@pytest.mark.parametrize(
    "command",
    [
        commands.add_job(1, 2, 3, 4, 5, 6, 7, 8),
        commands.get_job([1], timeout=2, count=3),
        shortened(commands.get_job([1], timeout=2000), 1.0),
        commands.nack_job("D-1", delay=1),
        commands.qpeek(1, 2),
        commands.qscan(1, count=2, minlen=3, maxlen=4, importrate=5),
        commands.jscan(1, count=2),
        raw(("PING", 1, 1.5), len),
    ],
)
def test_no_number_is_left_to_hiredis(command):
    """It dies of a signal that raises while it makes text of one."""
    assert {type(arg) for arg in command.args} <= {str, bytes}


class Name(str):
    """A str that is not exactly str, as members of string enumerations are."""

    __slots__ = ()


class Index:
    """An integer that is not an int, as numpy's are."""

    def __index__(self) -> int:
        return 7


def test_kin_of_str_and_int_are_taken():
    """Subclasses of str and whatever counts as a whole number are taken for what they are."""
    assert commands.add_job(Name("q"), "b", Index()).args == ("ADDJOB", "q", "b", "7")


def test_numbers_may_be_text():
    """The text of a whole number is taken for it: the old client sent it, read from settings."""
    assert commands.add_job("q", "b", "500", retry=b"0").args == (
        "ADDJOB", "q", "b", "500", "RETRY", "0",
    )  # fmt: skip
    assert commands.get_job(["q"], timeout="1500").wait == 1.5
    with pytest.raises(ValueError, match="delay must be less than ttl"):
        commands.add_job("q", "b", delay="10", ttl="9")


def test_jobs_with_counters():
    """The names between the counters are dropped, as the old client dropped them."""
    command = commands.get_job(["q"], withcounters=True)
    reply = [[b"q", b"id", b"body", b"nacks", 1, b"additional-deliveries", 2]]
    assert command.parse(reply) == [(b"q", b"id", b"body", 1, 2)]
    assert command.parse(None) == []


def test_jobs():
    """Jobs come as tuples, and none at all as an empty list."""
    command = commands.get_job(["q"])
    (job,) = command.parse([[b"q", b"id", b"body"]])
    assert job == (b"q", b"id", b"body")
    assert type(job.queue) is bytes
    assert command.parse(None) == []


def test_dicts():
    """With return_dict a flat list becomes a dict; nothing stays None."""
    stats = queue_stats(len=1)
    as_dict = commands.qstat("q", return_dict=True).parse(stats)
    assert as_dict == dict(zip(stats[::2], stats[1::2], strict=True))
    assert commands.show(ID, return_dict=True).parse(None) is None
    assert commands.show(ID).parse(None) is None
    assert commands.qstat("q").parse(None) is None


def test_scanned_jobs():
    """JSCAN REPLY all gives the lists of the wire, each a JobInfo."""
    reply = job_info(ttl=3)
    cursor, (job,) = commands.jscan(reply="all").parse([b"0", [reply]])
    assert cursor == b"0"
    assert job == reply
    assert job.ttl == 3


@pytest.mark.parametrize(
    ("make", "name", "least"),
    [
        (lambda value: commands.add_job("q", "b", value), "timeout", 0),
        (lambda value: commands.add_job("q", "b", delay=value), "delay", 0),
        (lambda value: commands.add_job("q", "b", retry=value), "retry", 0),
        (lambda value: commands.add_job("q", "b", ttl=value), "ttl", 1),
        (lambda value: commands.add_job("q", "b", maxlen=value), "maxlen", 1),
        (lambda value: commands.get_job(["q"], timeout=value), "timeout", 0),
        (lambda value: commands.get_job(["q"], count=value), "count", 1),
        (lambda value: commands.nack_job(ID, delay=value), "delay", 0),
        (lambda value: commands.qpeek("q", value), "count", -(2**63)),
        (lambda value: commands.qscan(count=value), "count", -(2**63)),
        (lambda value: commands.qscan(minlen=value), "minlen", -(2**63)),
        (lambda value: commands.jscan(count=value), "count", -(2**63)),
    ],
)
def test_numbers_that_are_too_large(make, name, least):
    """A number that is out of range is refused with the whole range."""
    text = f"{name} must be between {least} and {2**63 - 1}, not {2**63}"
    with pytest.raises(ValueError, match=text):
        make(2**63)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: commands.add_job("q", text),
        lambda text: commands.add_job(text, "b"),
        lambda text: commands.add_json("q", text),
        lambda text: commands.get_job([text]),
        commands.qlen,
        lambda text: raw(("SET", "k", text), lambda reply: reply),
    ],
)
def test_texts_that_are_too_long(make, monkeypatch):
    """What no node takes is refused before it is sent, counted in bytes."""
    monkeypatch.setattr(validation, "MAX_TEXT", 160)
    monkeypatch.setattr(validation, "_SURELY_FITS", 20)
    make("x" * 158)
    make("\N{BUTTERFLY}" * 39)
    for value in ("x" * 161, "\N{BUTTERFLY}" * 41):
        with pytest.raises(ValueError, match=r"at most 160 bytes .*, not 16\d"):
            make(value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_that_are_too_long(kind, monkeypatch):
    """Bytes are counted likewise, and those that are not too long are sent as they are."""
    monkeypatch.setattr(validation, "MAX_TEXT", 160)
    monkeypatch.setattr(validation, "_SURELY_FITS", 20)
    assert bytes(commands.add_job("q", kind(b"x" * 160)).args[2]) == b"x" * 160
    with pytest.raises(ValueError, match="not 161"):
        commands.add_job("q", kind(b"x" * 161))
    with pytest.raises(ValueError, match="not 168"):
        commands.add_job("q", memoryview(array("d", [0.0] * 21)))


def test_the_limit_of_texts():
    """It is what nodes take for one argument."""
    assert validation.MAX_TEXT == resp.MAX_BULK


@pytest.mark.parametrize(
    ("command", "resend", "wait"),
    [
        (commands.add_job("q", "b", 500), Resend.ONCE_PER_NODE, 0.5),
        (commands.add_job("q", "b", 0), Resend.ONCE_PER_NODE, None),
        (commands.get_job(["q"]), Resend.ALWAYS, None),
        (commands.get_job(["q"], timeout=0), Resend.ALWAYS, None),
        (commands.get_job(["q"], timeout=1500), Resend.ALWAYS, 1.5),
        (commands.get_job(["q"], timeout=1500, nohang=True), Resend.ALWAYS, 0.0),
        (commands.ack_job(ID), Resend.ALWAYS, 0.0),
        (raw(("addjob", "q", "b", 500), repr), Resend.ONCE_PER_NODE, 0.5),
        (raw((b"ADDJOB", "q", "b", b"0"), repr), Resend.ONCE_PER_NODE, None),
        (raw(("ADDJOB", "q"), repr), Resend.ONCE_PER_NODE, None),
        (raw(("ADDJOB", "q", "b", "x"), repr), Resend.ONCE_PER_NODE, 0.0),
        (raw(("getjob", "timeout", "20", "FROM", "nohang"), repr), Resend.ALWAYS, 0.02),
        (raw(("GETJOB", "NOHANG", "FROM", "q"), repr), Resend.ALWAYS, 0.0),
        (raw(("GETJOB FROM q",), repr), Resend.ALWAYS, None),
        (raw(("GETJOB",), repr), Resend.ALWAYS, None),
        (raw(("QLEN", "q"), repr), Resend.ALWAYS, 0.0),
        (raw(("CONFIG GET", "x"), repr), Resend.NEVER, 0.0),
        (raw(("",), repr), Resend.NEVER, 0.0),
    ],
)
def test_what_may_be_sent_again(command, resend, wait):
    """Each command says whether it may be sent again and how long the node may take for it."""
    assert (command.resend, command.wait) == (resend, wait)


def test_raw_words():
    """A first word with blanks is several words, as in redis-py; the reply is parsed as told."""
    command = raw(("CONFIG GET", "p*", 1), len)
    assert command.args == ("CONFIG", "GET", "p*", "1")
    assert command.parse([1, 2]) == 2


def test_shortened():
    """A GETJOB asks for a slice of its time: the rest, 5 s at most, a millisecond at least."""
    for wait in (None, 0, 60_000):
        long = commands.get_job(["q"], timeout=wait, count=2)
        sent = shortened(long, 1)
        assert sent.args == ("GETJOB", "TIMEOUT", "5000", "COUNT", "2", "FROM", "q")
        assert (sent.args, sent.wait) == first_slice(long)
        assert sent.wait == SLICE
    command = commands.get_job(["TIMEOUT"], timeout=5000, count=2)
    assert shortened(command, 0) is command
    assert first_slice(command) == (command.args, 5.0)
    assert shortened(command, 1.5).args == (
        "GETJOB", "TIMEOUT", "3500", "COUNT", "2", "FROM", "TIMEOUT",
    )  # fmt: skip
    assert shortened(command, 9).args[2] == "1"
    lower = raw(("getjob", "timeout", "5000", "from", "q"), repr)
    assert shortened(lower, 1).args == ("getjob", "timeout", "4000", "from", "q")
    endless = raw(("getjob", "count", "2", "from", "timeout"), repr)
    assert shortened(endless, 1).args == (
        "getjob", "TIMEOUT", "5000", "count", "2", "from", "timeout"
    )  # fmt: skip
    now = commands.get_job(["q"], nohang=True, timeout=9000)
    for other in (now, commands.add_job("q", "b", timeout=0), commands.qlen("q")):
        assert shortened(other, 1) is other


def test_waits_for_the_same():
    """Two GETJOBs that differ in their timeouts alone ask for the same."""
    same = [
        commands.get_job(["q"], count=2),
        commands.get_job(["q"], count=2, timeout=7),
        shortened(commands.get_job(["q"], count=2), 0),
    ]
    assert {without_timeout(command.args) for command in same} == {same[0].args}
    assert without_timeout(commands.get_job(["TIMEOUT", "1"]).args)[-2:] == ("TIMEOUT", "1")


@pytest.mark.parametrize(
    ("wait", "asked", "now", "on"),
    [
        (None, 10.0, 15.0, True),
        (None, 10.0, 10.1, False),
        (60_000, 10.0, 15.0, True),
        (60_000, 56.0, 60.1, False),
        (4000, 0.0, 4.0, False),
    ],
)
def test_waits_that_go_on(wait, asked, now, on):
    """Nil at the end of a slice is not the end of the wait; an early nil is the node's word."""
    assert goes_on(commands.get_job(["q"], timeout=wait), asked, 0.0, now) is on
    assert not goes_on(commands.get_job(["q"], nohang=True), asked, 0.0, now)
    assert not goes_on(commands.show(ID), asked, 0.0, now)
