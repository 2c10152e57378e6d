"""A worker: runs functions on jobs, keeps their leases, tries again what failed."""

from pydisque.worker.handlers.handler import Backoff, Dead, Drop, Retry
from pydisque.worker.handlers.hooks import Hook
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.worker import Worker

__all__ = ["Backoff", "Dead", "Drop", "Hook", "Retry", "Worker", "WorkerJob"]
