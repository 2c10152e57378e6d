"""The command line: options read, work handed on, errors told in one plain line.

Each command stands in a module of this package and is named here. Importing one has to be cheap,
as `pydisque --help` asks them all: what a command needs is loaded when it runs.
"""

from __future__ import annotations

import click

from pydisque import __version__
from pydisque.cli import data, dead, demo, migrate, serve, worker


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pydisque")
def main() -> None:
    """Disque, the distributed at-least-once job queue: run nodes and workers."""


for command in (
    serve.serve,
    worker.worker,
    dead.dead,
    data.check,
    data.dump,
    data.load,
    migrate.migrate,
    demo.demo,
):
    main.add_command(command)
