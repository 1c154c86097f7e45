"""What a host does for its adapters: listeners that are closed leave nothing open."""

import asyncio
import gc
import socket

import pytest

from gridspine.kernel.errors import Invalid
from gridspine.things.adapter_host import Listeners


async def ended(client):
    """Whether the other side ends the connection."""
    client.setblocking(False)
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 60) == b""
    except ConnectionResetError:
        return True
    finally:
        client.close()


@pytest.mark.parametrize("turns", range(5))
async def test_who_comes_while_a_listener_is_closed_is_let_go_of(recwarn, turns):
    """Not yet taken, taken, given a transport, given a task: wherever it is, nothing stays open."""
    listeners = Listeners({})

    async def stay(reader, writer):
        await reader.read()
        writer.close()

    address = await listeners.open("tcp", stay, beyond="no")
    clients = [socket.create_connection(address) for _ in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await listeners.close()
    assert [await ended(client) for client in clients] == [True] * 3
    gc.collect()
    assert [str(warned.message) for warned in recwarn if warned.category is ResourceWarning] == []


async def test_an_adapter_that_ends_with_connections_open_ends_them_without_a_word():
    listeners, tasks, said = Listeners({}), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: said.append(told["message"]))

    async def stay(reader, writer):
        tasks.append(asyncio.current_task())
        await reader.read()

    address = await listeners.open("tcp", stay, beyond="no")
    clients = [socket.create_connection(address) for _ in range(3)]
    async with asyncio.timeout(60):
        while len(tasks) < 3:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    assert [await ended(client) for client in clients] == [True] * 3
    await listeners.close()
    assert said == []


async def test_without_tls_a_listener_stays_on_loopback():
    with pytest.raises(Invalid, match="not there"):
        await Listeners({"tcp": {"host": "192.0.2.1"}}).open("tcp", print, beyond="not there")
