"""Names and bodies are bytes, any bytes, and come back as they went."""

import pytest

from conformance.steps import scan_all, take

EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize(
    "body",
    [b"", b"\r\n", b"\0", b"$5\r\nhello\r\n", b"*3\r\n-ERR\r\n", EVERY_BYTE, b"\xff\xfe" * 100_000],
    ids=["empty", "crlf", "nul", "bulk", "array", "every byte", "not utf-8"],
)
async def test_bodies(client, queue, body):
    """No body is changed on its way, however much it looks like the protocol."""
    await client.add_job(queue, body)
    assert (await client.qpeek(queue, 1))[0].body == body
    assert (await take(client, queue)).body == body


async def test_names(client, queue):
    """A queue's name may hold every byte, in every command that takes one."""
    name = queue.encode() + EVERY_BYTE
    job_id = await client.add_job(name, "body")
    assert await client.qlen(name) == 1
    assert (await client.qstat(name)).name == name
    assert name in await scan_all(client.qscan)
    assert await scan_all(client.jscan, queue=name) == [job_id]
    assert (await take(client, name)).queue == name
    assert (await client.show(job_id)).queue == name


async def test_a_large_body(client, queue):
    """Megabytes come back whole."""
    body = EVERY_BYTE * 16_384
    job_id = await client.add_job(queue, body)
    assert (await take(client, queue)).body == body
    await client.ack_job(job_id)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("grün ✓", "grün ✓".encode()),
        (bytearray(b"\0\1"), b"\0\1"),
        (memoryview(b"\2\3"), b"\2\3"),
        (12, b"12"),
        (1.5, b"1.5"),
    ],
)
async def test_what_is_not_bytes(client, queue, given, sent):
    """Text is sent as UTF-8, a number as its text."""
    await client.add_job(queue, given)
    assert (await take(client, queue)).body == sent


async def test_ids_as_text(client, queue):
    """An ID may be given back as str too."""
    job_id = await client.add_job(queue, "body")
    assert (await client.show(job_id.decode())).id == job_id
    assert await client.ack_job(job_id.decode()) == 1
