"""The command line: options read, work handed on, errors told in one plain line."""

from __future__ import annotations

import logging
import sys

import click

from pydisque import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pydisque")
def main() -> None:
    """Disque, the distributed at-least-once job queue: run a node, and see it work."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=7711,
    show_default=True,
    type=click.IntRange(-1, 65535),
    help="TCP port; 0 takes a free one, -1 none.",
)
@click.option("--unixsocket", metavar="PATH", help="Unix socket to listen on as well.")
@click.option(
    "--password",
    envvar="PYDISQUE_PASSWORD",
    help="What clients must send with AUTH. Better given as PYDISQUE_PASSWORD, as other users of "
    "the machine can read command lines.",
)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Directory in which jobs are kept; without one they are kept in memory.",
)
@click.option(
    "--durability",
    default="always",
    show_default=True,
    type=click.Choice(["always", "everysec", "none"]),
    help="When a change is synced to the disk.",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning"]),
    help="How much to say on standard error.",
)
def serve(
    host: str,
    port: int,
    unixsocket: str | None,
    password: str | None,
    data: str | None,
    durability: str,
    log_level: str,
) -> None:
    """Run a node until Ctrl-C, SIGTERM or SHUTDOWN.

    It keeps its jobs in memory: they are gone when it stops.

    \b
    Examples:
      pydisque serve
      pydisque serve --port 7712 --unixsocket /tmp/disque.sock
    """  # noqa: D301 - what looks like an escape is one: it keeps click from filling the lines
    from pydisque.node import Server  # noqa: PLC0415 - clients need no server

    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        server = Server(
            host, port, unixsocket=unixsocket, password=password, data=data, durability=durability
        )
        server.run(lambda: click.echo(f"listening on {' and '.join(server.addresses)}"))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot serve: {error}") from None


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
