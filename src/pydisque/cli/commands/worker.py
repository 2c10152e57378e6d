"""`pydisque worker`: find an app's worker, set it as the options say, run it until it is stopped.

Several processes, and starting again when the code changes, are `supervisor`'s.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
from redis.exceptions import RedisError

from pydisque.cli.options.nodes import NOW, FailedError, nodes_option, shown
from pydisque.client.base import DEFAULT_NODE
from pydisque.protocol.addresses import parse_addresses
from pydisque.service import systemd

if TYPE_CHECKING:
    from pydisque.worker import Worker

LEVELS = ("debug", "info", "warning", "error")


# What is given


def _split_target(_: click.Context, __: click.Parameter, target: str) -> tuple[str, str]:
    module, _colon, attribute = target.partition(":")
    attribute = attribute or "worker"
    if not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise click.BadParameter(
            f"{target!r} is not MODULE:ATTRIBUTE as Python imports it, such as myapp.jobs:worker"
        )
    return module, attribute


def _weights(_: click.Context, __: click.Parameter, given: str | None) -> dict[str, int] | None:
    """Read names of queues, with their weights behind their last colon if that is a number."""
    if given is None:
        return None
    weights = {}
    for part in given.split(","):
        name, colon, digits = part.strip().rpartition(":")
        weighted = bool(colon) and digits.isascii() and digits.isdigit()
        queue, weight = (name, int(digits)) if weighted else (part.strip(), 1)
        if not queue or not 1 <= weight <= 100:
            raise click.BadParameter(f"{part!r} is not NAME or NAME:WEIGHT, a weight from 1 to 100")
        weights[queue] = weight
    return weights


def _address(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    if given is None:
        return None
    _host, colon, port = given.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and 0 <= int(port) < 65536):
        raise click.BadParameter(f"{given!r} is not HOST:PORT")
    return given


@click.command()
@click.argument("target", metavar="MODULE:ATTRIBUTE", callback=_split_target)
@nodes_option("The nodes to work for.")
@click.option("--concurrency", metavar="N", type=click.IntRange(1), help="Jobs that run at once.")
@click.option(
    "--executor", type=click.Choice(["threads", "asyncio", "processes"]), help="Where jobs run."
)
@click.option(
    "--queues",
    metavar="NAME[:WEIGHT],...",
    callback=_weights,
    help="The queues to work on; of one with weight 3 three jobs are taken in a turn.",
)
@click.option(
    "--strict/--no-strict", default=None, help="Work on a queue when those before it are empty."
)
@click.option(
    "--grace", metavar="S", type=click.FloatRange(0), help="Seconds running jobs get in the end."
)
@click.option(
    "--http", metavar="HOST:PORT", callback=_address, help="Where to serve /health and /metrics."
)
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="info", show_default=True,
    help="Log no less than this.",
)  # fmt: skip
@click.option("--log-json", is_flag=True, help="Log one JSON object a line.")
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, 1024),
    default=1,
    help="Run so many workers, each in a process of its own.",
)
@click.option("--reload", "reloads", is_flag=True, help="Start again when a .py file changes.")
@click.option("--lifeline", type=int, hidden=True, help="Where the supervisor is heard from.")
@click.option("--number", type=int, hidden=True, default=0, help="Which of several this one is.")
def worker(
    target: tuple[str, str],
    processes: int,
    reloads: bool,
    lifeline: int | None,
    number: int,
    log_level: str,
    log_json: bool,
    **settings: Any,
) -> None:
    """Run an app's worker until Ctrl-C or SIGTERM.

    It is the Worker that MODULE has as ATTRIBUTE, "worker" if that is left out. The module is
    looked for in the current directory first. Options that are given override what the code says.

    After the signal no more jobs are fetched, and running ones get --grace seconds. A second signal
    ends it now.

    With --processes, one that dies is replaced; SIGHUP replaces all, one after the other, and
    gracefully; with --http each has a port of its own, counted up from the one given.

    --reload is for development, and needs: pip install 'pydisque[reload]>=1.0'

    Exit code: 0 when all jobs that had begun were finished, 1 when some were cut short, 2 for wrong
    options, 3 when it could not begin, or failed.

    \b
    Examples:
      pydisque worker myapp.jobs
      pydisque worker myapp.jobs:worker --nodes node1:7711,node2:7711 --concurrency 32
      pydisque worker myapp.jobs --queues emails:3,reports --processes 4 --http 0.0.0.0:9100
      pydisque worker myapp.jobs --reload --log-level debug
    """  # noqa: D301
    from pydisque.service import log_format  # noqa: PLC0415

    if reloads and processes > 1:
        raise click.UsageError("--reload and --processes do not go together")
    log_format.configure(getattr(logging, log_level.upper()), as_json=log_json)
    if lifeline is None and (reloads or processes > 1):
        raise click.exceptions.Exit(_supervise(processes, reloads=reloads))
    sys.path.insert(0, str(Path.cwd()))
    found = _find(*target)
    _override(found, settings, number)
    raise click.exceptions.Exit(_run(found, lifeline))


def _supervise(processes: int, *, reloads: bool) -> int:
    from pydisque.cli.commands import supervisor  # noqa: PLC0415

    words = sys.argv[2:]  # the same command again; what is added keeps it from supervising
    if reloads:
        return supervisor.reload(words)
    return supervisor.supervise([["--number", str(each), *words] for each in range(processes)])


# What is run


def _find(module: str, attribute: str) -> Worker:
    """The app's worker, or one plain line of what was found instead."""
    from pydisque.worker import Worker  # noqa: PLC0415

    imported = _import(module)
    try:
        found = attrgetter(attribute)(imported)
    except AttributeError:
        others = [name for name, value in vars(imported).items() if isinstance(value, Worker)]
        hint = f"; its workers are: {', '.join(others)}" if others else ", nor any worker"
        raise FailedError(f"module {module} has no {attribute}{hint}") from None
    if not isinstance(found, Worker):
        kind = "a class" if isinstance(found, type) else f"of type {type(found).__qualname__}"
        raise FailedError(f"{module}:{attribute} is {kind}, and no Worker")
    return found


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise FailedError(f"there is no module {error.name}, from {Path.cwd()}") from None
        raise _unimportable(module, error) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the app's
        raise _unimportable(module, error) from None


def _unimportable(module: str, error: BaseException) -> FailedError:
    traceback.print_exception(error)
    return FailedError(f"module {module} cannot be imported: {shown(str(error))}")


def _override(worker: Worker, settings: dict[str, Any], number: int) -> None:
    """Let what was given on the command line win over what the code says."""
    given = {name: value for name, value in settings.items() if value not in (None, ())}
    for name, value in given.items():
        setattr(worker, name, value)
    unknown = set(given.get("queues", ())) - set(worker.handlers)
    if unknown:
        names = ", ".join(map(shown, sorted(unknown)))
        raise click.UsageError(f"there is no handler for {names}")
    if number and worker.http:
        host, _, port = worker.http.rpartition(":")
        worker.http = f"{host}:{int(port) + number}"


def _run(worker: Worker, lifeline: int | None) -> int:
    """Run it to its end; the exit code."""
    stop = _Stop(worker, supervised=lifeline is not None)
    try:
        told = _described(worker)
        with stop.on_signals():
            if lifeline is None:
                worker.start(systemd.ready)
                click.echo(told)
            else:
                worker.start()
                _hold(lifeline, stop, told)
            stop.begun()
            return 1 if worker.join() else 0
    except (RedisError, OSError, ValueError, TypeError) as error:
        raise FailedError(f"cannot work: {shown(str(error))}") from None
    except Exception as error:  # noqa: BLE001 - a hook may raise anything at the start
        if worker.tally.failure is None:  # else it has logged why
            traceback.print_exception(error)
        raise FailedError(f"the worker failed: {shown(str(error)) or repr(error)}") from None


_NOUNS = {"threads": "thread", "asyncio": "asyncio task", "processes": "process"}


def _described(worker: Worker) -> str:
    from pydisque.worker.executors.selection import name_for  # noqa: PLC0415

    queues = ", ".join(map(shown, worker.queues or worker.handlers))
    executor = name_for(worker.executor, worker.handlers.values())
    plural = {1: ""}.get(worker.concurrency, "es" if executor == "processes" else "s")
    nodes = worker.nodes or os.environ.get("DISQUE_NODES") or DEFAULT_NODE
    addresses = ", ".join(str(address) for address in parse_addresses(nodes))
    at_once = f"{worker.concurrency} {_NOUNS[executor]}{plural}"
    return f"working on {queues}: {at_once}, nodes {addresses} (Ctrl-C stops)"


class _Stop:
    """The ways in which a worker is told to stop.

    A signal sent to a whole group reaches a supervised worker twice, the second time through its
    supervisor. So only a supervisor can tell it to stop without grace.
    """

    def __init__(self, worker: Worker, *, supervised: bool) -> None:
        self._worker = worker
        self._supervised = supervised
        self._begun = False
        self._told = False
        self._lock = threading.RLock()  # a signal may come while a thread tells the same

    def begun(self) -> None:
        """The worker runs; what it was told before is told it now."""
        with self._lock:
            self._begun = True
            if self._told:
                self._worker.stop()

    def gently(self) -> None:
        """Begin the end, once."""
        with self._lock:
            if not self._told:
                self._told = True
                systemd.stopping()
                if self._begun:
                    self._worker.stop()

    def now(self) -> None:
        """End without grace."""
        self.gently()
        if self._begun:
            self._worker.stop()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT meanwhile; handlers that the app has set are called too."""
        if self._supervised:  # what a terminal that closes sends to all
            signal.signal(signal.SIGHUP, lambda *_: None)
        from pydisque.worker.signals import on_signals  # noqa: PLC0415

        def tell() -> None:
            stop = self.now if self._told and not self._supervised else self.gently
            stop()

        with on_signals(tell):
            yield


def _hold(lifeline: int, stop: _Stop, told: str) -> None:
    """Tell the supervisor that work has begun, then do as it says, and stop when it is gone."""
    os.set_inheritable(lifeline, False)
    line = socket.socket(fileno=lifeline)

    def listen() -> None:
        with contextlib.suppress(OSError):
            line.sendall(f"{told}\n".encode())
            while word := line.recv(1):
                stop.now() if word == NOW else stop.gently()
        stop.gently()

    threading.Thread(target=listen, name="pydisque-lifeline", daemon=True).start()
