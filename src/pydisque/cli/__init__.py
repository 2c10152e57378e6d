"""The command line: options read, work handed on, errors told in one plain line.

Each command, or a close family, stands in a module of this package and is named here. Importing
one has to be cheap, as `pydisque --help` asks them all: what is beyond the client is loaded when it
runs.
"""

from __future__ import annotations

from typing import Any

import click

from pydisque._version import __version__
from pydisque.cli import top
from pydisque.cli.commands import (
    ack,
    add,
    bench,
    dashboard,
    data,
    dead,
    demo,
    get,
    jobs,
    migrate,
    monitor,
    node,
    queues,
    serve,
    tail,
    worker,
)
from pydisque.cli.options.nodes import INCOMPLETE
from pydisque.cli.output import streams

SECTIONS = {
    "Jobs": (
        add.add, get.get, ack.ack, ack.nack, ack.working, get.show, jobs.jobs,
        ack.enqueue, ack.dequeue, ack.delete,
    ),
    "Queues": (
        top.top, queues.list_queues, queues.stats, get.peek, tail.tail, queues.pause,
        queues.resume, queues.purge, dead.dead,
    ),
    "Nodes": (
        serve.serve, dashboard.dashboard, node.ping, node.hello, node.info, monitor.monitor,
        bench.bench,
    ),
    "A node's data": (data.check, data.dump, data.load, migrate.migrate),
    "Workers": (worker.worker, demo.demo),
}  # fmt: skip


class Sections(click.Group):
    """A group whose help lists its commands by what they are for."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run it, and tell of a disk that is full in one line as of anything else."""
        with streams.failures_told():
            return super().main(*args, **settings)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - the base class calls it so
        formatter: click.HelpFormatter,
    ) -> None:
        """Write a list under each title."""
        for title, commands in SECTIONS.items():
            rows = [(str(each.name), each.get_short_help_str(200)) for each in commands]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pydisque")
def main() -> None:
    """Disque, the distributed at-least-once job queue: run nodes and workers, look after jobs."""
    streams.settle()


@main.result_callback()
def _ended(_: Any) -> None:
    """Once all is told, say by the exit code whether it was all."""
    if INCOMPLETE in click.get_current_context().meta:
        raise click.exceptions.Exit(1)


for section in SECTIONS.values():
    for command in section:
        main.add_command(command)
