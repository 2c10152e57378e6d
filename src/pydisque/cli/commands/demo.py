"""`pydisque demo`: see it work."""

from __future__ import annotations

import click


@click.command(epilog="Exit code: 0 when every job was done, 1 when not, 2 for wrong options.")
@click.option(
    "--jobs", metavar="N", default=60, show_default=True, type=click.IntRange(1, 100_000),
    help="So many jobs.",
)  # fmt: skip
@click.option(
    "--workers", metavar="N", default=3, show_default=True, type=click.IntRange(1, 64),
    help="So many at once, each a thread.",
)  # fmt: skip
def demo(jobs: int, workers: int) -> None:
    """Start a node, add jobs, work on them, and say what happened.

    Some of the jobs are delayed, some fail the first time and come again.

    \b
    Examples:
      pydisque demo
      pydisque demo --jobs 1000 --workers 8
    """  # noqa: D301
    from pydisque.cli.commands.demo_run import Demo  # noqa: PLC0415

    if not Demo(jobs, workers).run():
        raise click.ClickException("not every job was done: this should not happen")
