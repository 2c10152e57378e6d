"""The same random commands on a durable store, with restarts, crashes and failed commits between.

What stands after a restart must be what the model says that never stopped; after a commit that
failed, what the model said when the last one succeeded.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from test_engine_model import JITTER, EngineMachine

from pydisque.errors import PausedError
from pydisque.node.engine.job import GONE
from pydisque.node.store.durable.store import DurableStore
from support.engines import START

CLOCK = SimpleNamespace(time_ns=lambda: START * 1_000_000, monotonic_ns=lambda: 0)
MODEL = ("jobs", "queues", "born", "handed_out", "leases", "once_delivered", "expiries")


class DurableMachine(EngineMachine):
    """The machine of the engine, on a data directory."""

    def __init__(self) -> None:
        self.folders = Path(tempfile.mkdtemp())
        self.folder = self.folders / "0"
        self.serials = count()
        self.reports: SimpleQueue = SimpleQueue()
        self.patches = [
            mock.patch("pydisque.node.store.base.time", CLOCK),
            mock.patch("pydisque.node.store.durable.compaction.SLACK", 0),
            mock.patch("pydisque.node.store.durable.records.LARGE", 8),
        ]
        for patch in self.patches:
            patch.start()
        super().__init__()
        self.kept = self.snapshot()

    def make_engine(self) -> DurableStore:
        store = DurableStore(str(self.folder), self.reports.put)
        store.set_durability("none")
        store._draw_serials = lambda: [b"%024d" % next(self.serials)]
        store._jitter = lambda: JITTER
        return store

    def teardown(self) -> None:
        self.engine.close()
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folders)

    @invariant()
    def every_record_is_needed_by_whom_it_counts(self) -> None:
        """Without the model: a record's inhabitants are the jobs and queues at home there."""
        store = self.engine
        jobs = [job for page in store._pages for job in page.values()]
        gone = [job for job in store.changed_jobs if job.state is GONE]  # not told yet
        dropped = [q for q in store.changed_queues if store.queues.get(q.name) is not q]
        at_home = Counter(it.home for it in (*jobs, *gone, *store.queues.values(), *dropped))
        del at_home[0]
        counted = {n: record.inhabitants for n, record in store._homes._records.items()}
        assert {n: count for n, count in counted.items() if count} == at_home

    def snapshot(self) -> dict:
        return deepcopy({name: getattr(self, name) for name in MODEL})

    def wait(self) -> str:
        """Let one commit be made; what went wrong with it."""
        outcomes: list[str] = []
        self.engine.commit(outcomes.append)
        while not outcomes:
            self.reports.get()()
        return outcomes[0]

    @rule()
    def commit(self) -> None:
        while self.engine.uncommitted():
            assert self.wait() == ""
        self.kept = self.snapshot()

    @rule()
    def compact(self) -> None:
        """Move everything on; it must end, and change nothing."""
        self.engine.compact()
        self.commit()
        assert self.engine._homes.oldest() > self.engine._compacting == 0 or not self.jobs

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        """End the store in order, or let another go on with the files as they lie there."""
        self.commit()
        old, folder = self.engine, self.folder
        if crash:
            self.folder = self.folders / str(int(folder.name) + 1)
            shutil.copytree(folder, self.folder)
        old.close()
        self.engine = self.make_engine()
        self.time_passes(1)  # what was due when a commit failed is done now
        self.by_age()
        self.commit()

    def by_age(self) -> None:
        """After a restart the spent jobs are given up by age."""
        spent = [job for job in self.jobs.values() if job.spent]
        for place, job in enumerate(sorted(spent, key=lambda job: job.age), 1):
            job.spent = place
        self.handed_out = len(spent)
        self.kept = self.snapshot()

    @rule()
    def a_commit_fails(self) -> None:
        """Nothing of what changed since the last one remains."""
        if not self.engine.uncommitted():
            return

        def fail(_: object, done: Callable[[str, bytes], None]) -> None:
            with suppress(PausedError):  # what changes while the commit is under way goes as well
                self.engine.add(b"a", b"late", 10, 1, 0)
            self.engine.get([b"a", b"b"], 2)
            done("full", b"")

        with mock.patch.object(self.engine.journal, "commit", fail):
            assert self.wait() == ("full" if self.engine.failure else "")
        if self.engine.failure:
            for name, value in deepcopy(self.kept).items():
                setattr(self, name, value)
            self.engine._tried("", b"")


DurableMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=50)
TestDurable = DurableMachine.TestCase
