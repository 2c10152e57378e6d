"""`pydisque bench`: how quickly nodes take jobs, hand them out, and forget them."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import click

from pydisque.cli.options.nodes import EXIT_CODES, asking, errors_told, name_of, number, to_ask
from pydisque.cli.options.parameters import as_json
from pydisque.cli.output.formatting import print_json
from pydisque.cli.output.progress import Advance, counted, finishing
from pydisque.cli.output.tables import Table
from pydisque.client.client import Client

# Seconds after which a node forgets the jobs by itself, should this be killed; none comes twice.
TTL = 3600

# Jobs acknowledged at once when all is tidied up.
BATCH = 1000


F = TypeVar("F", bound=Callable[..., Any])


def _number(
    name: str, metavar: str, default: int, bounds: click.IntRange, text: str
) -> Callable[[F], F]:
    return click.option(
        name, metavar=metavar, default=default, show_default=True, type=bounds, help=text
    )


@click.command(epilog=EXIT_CODES)
@_number("--jobs", "N", 10_000, click.IntRange(1, 1_000_000), "So many jobs.")
@_number("--clients", "N", 1, click.IntRange(1, 64), "So many at once, each in a thread.")
@_number("--pipeline", "N", 1, click.IntRange(1, 1000), "So many jobs in one go.")
@_number("--size", "BYTES", 100, click.IntRange(0, 1_000_000), "The length of a body.")
@as_json
@to_ask
def bench(
    jobs: int, clients: int, pipeline: int, size: int, as_json: bool, nodes: tuple[str, ...]
) -> None:
    """Measure a node: add jobs, get them, acknowledge them.

    It does so in a queue of its own, and leaves no job there, also after Ctrl-C. Times are those of
    one call, which is for as many jobs as --pipeline says. The clients are threads of one Python
    process: what they can do ends at about one processor.

    \b
    Examples:
      pydisque bench
      pydisque bench --jobs 100000 --clients 4 --pipeline 100
      pydisque bench --nodes node2:7711 --json
    """  # noqa: D301
    with errors_told(), asking(nodes) as client:
        client.connect()
        course = _Course(client, jobs, clients, pipeline, b"x" * size)
        with course.tidied_up():
            for name, work in course.phases():
                with counted(name, total=jobs) as advance:
                    figures = course.run(name, work, advance)
                _tell(name_of(client), figures, as_json=as_json, table=course.table)


class Figures(NamedTuple):
    """What came of one phase; times in milliseconds."""

    command: str
    jobs: int
    seconds: float
    per_second: float
    p50: float
    p99: float
    most: float


def _tell(node: str, figures: Figures, *, as_json: bool, table: Table) -> None:
    if as_json:
        print_json([{"node": node} | {n: _rounded(v) for n, v in figures._asdict().items()}])
        return
    command, jobs, seconds, per_second, *times = figures
    table.print(
        [(command, jobs, f"{seconds:.2f}", f"{per_second:.0f}", *(f"{t:.2f}" for t in times))]
    )


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


Work = Callable[[int], int]


class _Course:
    """One run, phase after phase, by so many threads."""

    def __init__(self, client: Client, jobs: int, clients: int, pipeline: int, body: bytes) -> None:
        self._client = client
        self._jobs = jobs
        self._clients = clients
        self._pipeline = pipeline
        self._body = body
        self._queue = f"pydisque-bench-{uuid.uuid4().hex}"
        self._added: list[bytes] = []
        self._taken: deque[bytes] = deque()
        names = ("command", "jobs", "seconds", "jobs/s", "p50 ms", "p99 ms", "max ms")
        self.table = Table(names, numbers=names[1:])

    def phases(self) -> Iterator[tuple[str, Work]]:
        """What is done, and how so many jobs of it are done; how many were is returned."""
        yield "add", self._add
        yield "get", self._get
        yield "ack", self._ack

    def _add(self, count: int) -> int:
        bodies = [self._body] * count
        ids = self._client.add_jobs(self._queue, bodies, ttl=TTL, retry=TTL)
        self._added += (job_id for job_id in ids if isinstance(job_id, bytes))
        if (error := next((e for e in ids if isinstance(e, Exception)), None)) is not None:
            raise error
        return count

    def _get(self, count: int) -> int:
        jobs = self._client.get_job([self._queue], timeout=1000, count=count)
        self._taken.extend(job.id for job in jobs)
        return len(jobs)

    def _ack(self, count: int) -> int:
        ids = [self._taken.popleft() for _ in range(min(count, len(self._taken)))]
        return self._client.ack_job(*ids)

    # Threads

    def run(self, name: str, work: Work, advance: Advance) -> Figures:
        """One phase; what it came to."""
        crew = _Crew(self._jobs, self._pipeline, work, advance)
        started = time.perf_counter()
        crew.run(self._clients)
        seconds = time.perf_counter() - started
        times = sorted(crew.times) or [0.0]
        p50, p99 = (1000 * times[int(part * (len(times) - 1))] for part in (0.5, 0.99))
        return Figures(name, crew.done, seconds, crew.done / seconds, p50, p99, 1000 * times[-1])

    @contextmanager
    def tidied_up(self) -> Iterator[None]:
        """In the end, however it comes, acknowledge what was added."""
        try:
            yield
        finally:
            with finishing():
                left = sum(self._client.ack_job(*ids) for ids in self._batches())
            if left:
                click.echo(f"tidied up: {number(left, 'job')}", err=True)

    def _batches(self) -> Iterator[list[bytes]]:
        for start in range(0, len(self._added), BATCH):
            yield self._added[start : start + BATCH]


class _Crew:
    """Threads that share what is to be done."""

    def __init__(self, jobs: int, pipeline: int, work: Work, advance: Advance) -> None:
        self.times: list[float] = []
        self.done = 0
        self._left = jobs
        self._pipeline = pipeline
        self._work = work
        self._advance = advance
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, threads: int) -> None:
        """Do it all; raises what one of them met. Ctrl-C lets each finish the call it is in."""
        with ThreadPoolExecutor(threads) as pool:
            members = [pool.submit(self._member) for _ in range(threads)]
            try:
                for member in members:
                    member.result()
            except BaseException:
                self._stopping = True
                raise

    def _member(self) -> None:
        done = 1
        while done and (count := self._next()):
            started = time.perf_counter()
            try:
                done = self._work(count)
            except BaseException:
                self._stopping = True
                raise
            self._note(time.perf_counter() - started, done, count)

    def _next(self) -> int:
        """How many jobs to do now."""
        with self._lock:
            count = 0 if self._stopping else min(self._pipeline, self._left)
            self._left -= count
            return count

    def _note(self, seconds: float, done: int, wanted: int) -> None:
        with self._lock:
            self.times.append(seconds)
            self.done += done
            self._left += wanted - done  # of a GETJOB fewer may come
            self._advance(done, done)
