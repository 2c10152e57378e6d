"""The command line: options read, work handed on, errors told in one plain line."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from pydisque import __version__, systemd

if TYPE_CHECKING:
    from pydisque.node.data_directory import Findings

# What Disque calls otherwise than most.
_ALIASES = {"bind": "--host", "loglevel": "--log-level"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pydisque")
def main() -> None:
    """Disque, the distributed at-least-once job queue: run a node, and see it work."""


class _NodeCommand(click.Command):
    """A command with an option for each setting of a node; the node is loaded when it is asked."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options and the settings."""
        own = super().get_params(ctx)
        return [*own[:-1], *_setting_options(), own[-1]]  # --help comes last


@functools.cache
def _setting_options() -> list[click.Option]:
    from pydisque.node.settings import STARTABLE  # noqa: PLC0415 - clients need no server

    options = []
    for name, parameter in STARTABLE.items():
        value: dict[str, Any] = {"metavar": "VALUE"}
        if parameter.switch:  # its name alone is yes
            value = {"metavar": "[yes|no]", "is_flag": False, "flag_value": "yes"}
        default = f"  [default: {parameter.default}]" if parameter.default else ""
        options.append(
            click.Option(
                [f"--{name}", *([_ALIASES[name]] if name in _ALIASES else [])],
                help=parameter.help + default,
                **value,
            )
        )
    return options


@main.command(cls=_NodeCommand)
@click.option("--config", metavar="FILE", envvar="PYDISQUE_CONFIG", help="TOML file with settings.")
def serve(config: str | None, **flags: str | None) -> None:
    """Run a node until Ctrl-C, SIGTERM or SHUTDOWN.

    It keeps its jobs in a data directory, and says in which: --data names another.

    Every setting can be given as an option, as a variable (--maxclients is PYDISQUE_MAXCLIENTS)
    and in the file, in this order. Give passwords as variables or files, as other users of the
    machine can read command lines.

    \b
    Examples:
      pydisque serve
      pydisque serve --port 7712 --data /var/lib/pydisque --durability everysec
      pydisque serve --data :memory: --unixsocket /tmp/disque.sock
    """  # noqa: D301 - what looks like an escape is one: it keeps click from filling the lines
    from pydisque.node import settings  # noqa: PLC0415
    from pydisque.node.config import SettingError  # noqa: PLC0415

    if flags["loglevel"] == "info":
        flags["loglevel"] = "notice"
    named = {name.replace("_", "-"): value for name, value in flags.items()}
    given: dict[str, settings.Given] = {}
    try:
        given = settings.gather(named, os.environ, config)
        _run_node({"port": "7711"} | {name: setting.value for name, setting in given.items()})
    except SettingError as error:
        source = given[error.name].source if error.name in given else ""
        raise _WrongSettingError(str(error.at(source))) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot serve: {error}") from None


class _WrongSettingError(click.ClickException):
    exit_code = 2


def _run_node(values: dict[str, Any]) -> None:
    from pydisque import logs  # noqa: PLC0415
    from pydisque.node import Server, settings  # noqa: PLC0415
    from pydisque.node.config import LOG_LEVELS  # noqa: PLC0415

    level = LOG_LEVELS[values.get("loglevel", "notice")]
    logs.configure(level, as_json=values.get("log-json") == "yes")
    for variable in settings.unknown_variables(os.environ):
        logging.getLogger("pydisque.node").warning("%s is no setting", variable)
    values["data"] = values.get("data") or _own_directory(values["port"])
    server = Server(**{name.replace("-", "_"): value for name, value in values.items()})
    server.run(lambda: _listening(server.addresses, values), systemd.stopping)


def _own_directory(port: str) -> str:
    """A data directory for a node that was given none: one for each port, and for each node."""
    from pydisque.node.journal import in_use  # noqa: PLC0415

    base = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "pydisque"
    paths = (base / (f"{port}-{number}" if number else port) for number in itertools.count())
    return str(next(path for path in paths if not in_use(path)))


def _listening(addresses: list[str], values: dict[str, Any]) -> None:
    click.echo(f"listening on {' and '.join(addresses)}")
    if values["data"] == ":memory:":
        click.echo("jobs are kept in memory: they are gone when the node stops")
    else:
        click.echo(f"jobs are kept in {values['data']}")
    systemd.ready()


@main.command()
@click.option("--jobs", default=60, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--workers", default=3, show_default=True, type=click.IntRange(1, 64))
def demo(jobs: int, workers: int) -> None:
    """Start a node, add jobs, work on them, and say what happened.

    Some of the jobs are delayed, some fail the first time and come again.
    """
    from pydisque.demo import Demo  # noqa: PLC0415

    if not Demo(jobs, workers).run():
        raise click.ClickException("not every job was done: this should not happen")


DIR = click.Path(file_okay=False)


@main.command()
@click.argument("directory", metavar="DIR", type=DIR)
def check(directory: str) -> None:
    """Check the data directory DIR: every page, every record, every job.

    Nothing in it is changed, and a node may be running on it. All that is wrong is told, a line
    each, and then the exit code is 1.

    \b
    Examples:
      pydisque check /var/lib/pydisque
    """  # noqa: D301
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from pydisque.node.dump import moment  # noqa: PLC0415

    findings = _examine(directory)
    state, sizes = findings.state, findings.sizes
    states = Counter(job.state.decode() for job in state.jobs.values())
    paused = [
        f"{_shown(q.name)} ({q.pause.decode()})"
        for q in state.queues.values()
        if q.pause != b"none"
    ]
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("node", findings.node_id.decode("ascii", "replace") or "none yet"),
        ("last commit", moment(state.now) if state.now else "none yet"),
        ("jobs", f"{len(state.jobs)}: {states['queued']} queued, {states['active']} active"),
        ("queues", f"{len(state.queues)}: {', '.join(paused) or 'none'} paused"),
        ("records", str(findings.records)),
        ("files", ", ".join(f"{file} {size} bytes" for file, size in sizes.items())),
        ("pages", f"{findings.pages}, of them {findings.free_pages} free"),
    ):
        table.add_row(name, Text(value))
    for problem in findings.problems:
        click.echo(problem)
    Console(highlight=False).print(table)
    if findings.problems:
        raise click.ClickException(f"{directory}: damaged: {_number(findings.problems)} above")


@main.command()
@click.argument("directory", metavar="DIR", type=DIR)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write to this file instead of standard output; a new one can be read by you alone.",
)
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="Write what can be read of a damaged journal, tell what cannot, and exit with 1.",
)
def dump(directory: str, output: str | None, skip_damaged: bool) -> None:
    """Write the jobs and queues in the data directory DIR as JSON lines.

    They are those of one moment, while a node runs on it as well. `pydisque load` reads them back.

    \b
    Examples:
      pydisque dump /var/lib/pydisque --output jobs.jsonl
      pydisque dump /var/lib/pydisque | gzip > jobs.jsonl.gz
    """  # noqa: D301
    from pydisque.node.dump import lines  # noqa: PLC0415

    findings = _examine(directory)
    problems = findings.problems
    if problems and not skip_damaged:
        raise click.ClickException(
            f"{directory}: damaged: {problems[0]}; `pydisque check` tells all ({len(problems)}), "
            "--skip-damaged writes what can be read"
        )
    try:
        with _written(output) as file:
            file.writelines(lines(findings.state, findings.node_id))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write the dump: {error}") from None
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise click.ClickException(
            f"{directory}: damaged: {_number(problems)} above; jobs in what was skipped are lost, "
            "and jobs that it said were changed or gone are as they were before"
        )


@main.command()
@click.argument("directory", metavar="DIR", type=DIR)
@click.argument("file", type=click.File("rb"), default="-")
def load(directory: str, file: BinaryIO) -> None:
    """Add the jobs and queues of a dump to the data directory DIR.

    The dump is read from FILE or standard input. All of it is loaded or, if a line is wrong,
    nothing. Jobs that are there already are left as they are. DIR is made if it is not there; no
    node may be running on it.

    \b
    Examples:
      pydisque load /var/lib/pydisque jobs.jsonl
      pydisque dump /mnt/old | pydisque load /var/lib/pydisque
    """  # noqa: D301
    from pydisque.node import data_directory  # noqa: PLC0415

    try:
        intake = data_directory.load(directory, file, time.time_ns() // 1_000_000)
    except (OSError, data_directory.DumpError) as error:
        raise click.ClickException(f"nothing was loaded: {error}") from None
    loaded, skipped = intake.loaded, intake.skipped
    click.echo(f"loaded: {loaded.jobs} jobs, {loaded.queues} queues")
    click.echo(f"skipped, as they were there: {skipped.jobs} jobs, {skipped.queues} queues")


def _examine(directory: str) -> Findings:
    from pydisque.node import data_directory  # noqa: PLC0415

    try:
        return data_directory.examine(directory)
    except OSError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _written(output: str | None) -> Iterator[BinaryIO]:
    """Where a dump goes: what a file holds is on the disk in the end."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(output, flags, 0o600), "wb") as file:
        yield file
        file.flush()
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fsync(file.fileno())


def _number(problems: list[str]) -> str:
    return "one problem" if len(problems) == 1 else f"{len(problems)} problems"


def _shown(name: bytes) -> str:
    """A queue's name on a terminal, which it must not command."""
    text = name.decode(errors="backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]
