"""The node says who it is and how it is."""

import inspect

import pytest
import redis
import redis.asyncio


async def test_hello(client, server):
    """HELLO answers its version, the node's own ID, and an entry for each node it knows."""
    version, own, *nodes = await client.hello()
    assert version == 1
    assert len(own) == 40
    assert own in [node_id for node_id, _, _, _ in nodes]
    assert len(nodes) == len(server.addresses)
    assert {int(port) for _, _, port, _ in nodes} == {
        int(address.rpartition(":")[2]) for address in server.addresses
    }
    assert {int(priority) for _, _, _, priority in nodes} == {1}


@pytest.mark.one_node
async def test_info(client, queue):
    """INFO is a dict of figures, numbers as numbers, and follows what the node does."""
    before = await client.info()
    assert before["disque_version"]
    assert before["connected_clients"] >= 1
    await client.add_job(queue, "body")
    after = await client.info()
    assert after["registered_jobs"] >= 1
    assert after["registered_queues"] >= 1
    assert after["total_commands_processed"] > before["total_commands_processed"]


async def test_ping(client):
    """PING is answered with True."""
    assert await client.ping() is True


@pytest.mark.one_node
async def test_connect(client, server):
    """connect stops at the first node given, and connected_node says which that is."""
    await client.connect()
    node = client.connected_node
    host, _, port = server.addresses[0].rpartition(":")
    assert (node.host, node.port) == (host, int(port))
    assert node.node_id == (await client.hello())[1]


@pytest.mark.one_node
async def test_a_redis_connection_to_the_node(client):
    """get_connection gives a redis.Redis, or redis.asyncio.Redis, that talks to the same node."""
    await client.connect()
    connection = client.get_connection()
    if inspect.isawaitable(connection) and not isinstance(connection, redis.asyncio.Redis):
        connection = await connection
    assert isinstance(connection, (redis.Redis, redis.asyncio.Redis))
    hello = connection.execute_command("HELLO")
    hello = await hello if inspect.isawaitable(hello) else hello
    assert hello[1] == client.connected_node.node_id


async def test_any_command(client, queue):
    """execute_command sends what it is given and returns what comes."""
    job_id = await client.execute_command("ADDJOB", queue, b"body", 100, "RETRY", 60)
    assert await client.execute_command("GETJOB", "COUNT", 5, "FROM", queue) == [
        [queue.encode(), job_id, b"body"]
    ]
    assert await client.execute_command("GETJOB", "NOHANG", "FROM", queue) is None
    assert await client.execute_command("QLEN", queue) == 0
