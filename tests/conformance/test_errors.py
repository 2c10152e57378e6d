"""What the node refuses raises an error of its own kind, and changes nothing."""

import pytest
import redis

from conformance.steps import NO_SUCH_JOB
from pydisque import errors

WITH_IDS = ["ack_job", "fast_ack", "del_job", "nack_job", "enqueue", "dequeue"]


@pytest.mark.parametrize("command", [*WITH_IDS, "working", "show"])
async def test_what_is_no_id(client, command):
    """An ID of a wrong shape is refused by every command that takes one."""
    with pytest.raises(errors.BadIDError):
        await getattr(client, command)("not-an-id")


@pytest.mark.parametrize("command", WITH_IDS)
async def test_one_bad_id_spoils_all(client, queue, command):
    """With one wrong ID among good ones nothing is done."""
    job_id = await client.add_job(queue, "body")
    before = (await client.show(job_id)).state
    with pytest.raises(errors.BadIDError):
        await getattr(client, command)(job_id, "not-an-id")
    assert (await client.show(job_id)).state == before


async def test_they_are_errors_of_redis(client):
    """Programs that catch redis.ResponseError go on working; the text begins with the word."""
    with pytest.raises(redis.exceptions.ResponseError, match=r"^NOJOB Job not known"):
        await client.working(NO_SUCH_JOB)


async def test_a_general_error(client):
    """An error without a word of its own is a DisqueError with the node's text."""
    with pytest.raises(errors.DisqueError, match=r"^unknown command 'NONSENSE'$") as raised:
        await client.execute_command("NONSENSE")
    assert type(raised.value) is errors.DisqueError


async def test_a_syntax_error(client, queue):
    """The node's own judgement of arguments comes as it is."""
    with pytest.raises(errors.DisqueError, match="syntax error"):
        await client.execute_command("ADDJOB", queue, "body", 100, "NONSENSE")
    assert await client.qlen(queue) == 0


async def test_the_client_lives_on(client, queue):
    """After an error the same client serves the next command."""
    for _ in range(3):
        with pytest.raises(errors.BadIDError):
            await client.ack_job("bad")
        assert await client.qlen(queue) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": -1}, "timeout must be 0 or more, not -1"),
        ({"replicate": 65536}, "replicate must be between 1 and 65535"),
        ({"delay": -1}, "delay must be 0 or more"),
        ({"retry": -1}, "retry must be 0 or more"),
        ({"delay": 10, "ttl": 10}, "delay must be less than ttl"),
        ({"retry": 0, "replicate": 2}, "replicate must be 1 with retry=0"),
    ],
)
async def test_bad_options_are_told_before_anything_is_sent(client, queue, options, text):
    """An argument no node would take raises ValueError that says what is allowed."""
    with pytest.raises(ValueError, match=text):
        await client.add_job(queue, "body", **options)
    assert await client.qstat(queue) is None


@pytest.mark.parametrize("value", ["ten", "", b"1.5", 1.5, True, [1]])
async def test_numbers_are_numbers(client, queue, value):
    """What is no whole number is refused where one is wanted."""
    with pytest.raises(TypeError, match="ttl"):
        await client.add_job(queue, "body", ttl=value)


@pytest.mark.parametrize("value", [None, True, ["body"], {"a": 1}, object()])
async def test_bodies_are_text(client, queue, value):
    """What is neither text nor a number is refused as a body."""
    with pytest.raises(TypeError, match="job"):
        await client.add_job(queue, value)
