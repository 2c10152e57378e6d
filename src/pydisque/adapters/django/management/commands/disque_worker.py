"""``manage.py disque_worker``: run Django's tasks until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from redis.exceptions import RedisError

from pydisque.adapters.django.worker import make_worker

_Base: Any = BaseCommand


class Command(_Base):
    """The command."""

    help = "Run the tasks of a DisqueBackend until Ctrl-C or SIGTERM."

    def add_arguments(self, parser: Any) -> None:
        """Those of the worker that are given most; the others stand in OPTIONS."""
        parser.add_argument("--backend", default="default", help="Its name in TASKS.")
        parser.add_argument("--queues", metavar="NAME,...", help="Default: all of the backend.")
        parser.add_argument("--concurrency", type=int, metavar="N", help="Tasks at once.")
        parser.add_argument("--grace", type=float, metavar="S", help="Seconds they get in the end.")
        parser.add_argument("--http", metavar="HOST:PORT", help="For /health and /metrics.")

    def handle(self, *, backend: str, queues: str | None, **options: Any) -> None:
        """Run the worker; exit with 1 if tasks were cut short."""
        names = ("concurrency", "grace", "http")
        given = {name: options[name] for name in names if options[name] is not None}
        if queues:
            given["queues"] = [name.strip() for name in queues.split(",")]
        try:
            worker = make_worker(backend, **given)
            if not logging.getLogger().handlers and not logging.getLogger("pydisque").handlers:
                logging.basicConfig(level=logging.INFO)
            self.stdout.write(f"working on {', '.join(worker.handlers)}")
            cut = worker.run()
        except (RedisError, OSError, TypeError, ValueError) as error:
            raise CommandError(f"cannot work: {error}") from error
        if cut:
            sys.exit(1)
