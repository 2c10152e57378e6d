"""The worker for Django's tasks: a `Worker` whose handlers call them.

``manage.py disque_worker`` runs it, and so does ``pydisque worker pydisque.adapters.django.worker``
with ``DJANGO_SETTINGS_MODULE`` set, which can have several processes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import close_old_connections
from django.utils import timezone
from django.utils.module_loading import import_string

from pydisque.adapters.django.api import (
    Task,
    TaskContext,
    TaskError,
    TaskResultStatus,
    signals,
    task_backends,
)
from pydisque.adapters.django.backend import DisqueBackend
from pydisque.adapters.django.call import Call
from pydisque.dead_letters import encoded
from pydisque.worker.consumer.config import Plan
from pydisque.worker.executors.base import Executor
from pydisque.worker.executors.loops import here
from pydisque.worker.handlers.handler import Dead, Drop, Retry
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.policy import trace_of
from pydisque.worker.worker import Worker


class TaskWorker(Worker):
    """A worker on the queues of a backend; important tasks come first, queues in turn."""

    def __init__(self, backend: DisqueBackend, **settings: Any) -> None:
        """Make it with the backend's options; the settings given here win.

        Args:
            backend: The backend.
            **settings: Arguments of `Worker`; ``queues`` are Django's, all of the backend's if it
                names none.
        """
        options = backend.disque
        queues: Iterable[str] = settings.pop("queues", None) or sorted(backend.queues)
        super().__init__(
            options.nodes, **{**options.client, **options.worker, **settings, "strict": True}
        )
        self._backend = backend
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        names = [backend.steps.of(queue) for queue in queues]
        self._levels = list(zip(*names, strict=True))
        for queue in (queue for level in self._levels for queue in level):
            self.handler(queue, **options.handler)(self._run_task)

    def _prepare(self) -> tuple[Plan, Executor]:
        plan, executor = super()._prepare()
        levels = [[encoded(name) for name in level] for level in self._levels]
        chosen = [[name for name in level if name in plan.sources] for level in levels]
        return replace(plan, levels=[level for level in chosen if level]), executor

    def _run_task(self, job: WorkerJob) -> None:
        close_old_connections()
        try:
            self._call(job)
        finally:
            close_old_connections()

    def _call(self, job: WorkerJob) -> None:
        result = self._result_of(job)
        task, backend = result.task, type(self._backend)
        signals.task_started.send(backend, task_result=result)
        context = (TaskContext(task_result=result),) if task.takes_context else ()
        try:
            value = task.call(*context, *result.args, **result.kwargs)
            here().finish(value)
        except (Retry, Drop):
            raise
        except BaseException as error:
            if self._is_last(job, error):
                result.errors.append(_error(error))
                _finish(result, TaskResultStatus.FAILED)
                signals.task_finished.send_robust(backend, task_result=result)
            raise
        # It has run: a receiver that raises is only logged, or it would run again.
        object.__setattr__(result, "_return_value", value)
        _finish(result, TaskResultStatus.SUCCESSFUL)
        signals.task_finished.send_robust(backend, task_result=result)

    def _result_of(self, job: WorkerJob) -> Any:
        """What a task may know of its call.

        Raises:
            Dead: The job is no call, or of something that is no task.
        """
        try:
            call = Call.of_body(job.body)
        except ValueError as error:
            raise Dead(str(error)) from error
        task = import_string(call.task)
        if not isinstance(task, Task):
            raise Dead(f"{call.task} is no task")
        alias, now = self._backend.alias, timezone.now()
        return self._backend.result(
            job.first_id,
            task.using(backend=alias, queue_name=call.queue, priority=call.priority),
            call.args,
            call.kwargs,
            status=TaskResultStatus.RUNNING,
            enqueued_at=datetime.fromisoformat(call.enqueued_at),
            started_at=now,
            last_attempted_at=now,
            worker_ids=[self._name] * job.attempt,
        )

    def _is_last(self, job: WorkerJob, error: BaseException) -> bool:
        limit = self.handlers[job.queue].max_attempts
        return isinstance(error, Dead) or (limit is not None and job.nacks + 1 >= limit)


def make_worker(alias: str = "default", **settings: Any) -> TaskWorker:
    """The worker of a backend, see `TaskWorker`.

    Raises:
        TypeError: The backend is another one than ours.
    """
    backend = task_backends[alias]
    if not isinstance(backend, DisqueBackend):
        raise TypeError(f"TASKS[{alias!r}] is no DisqueBackend but {type(backend).__name__}")
    return TaskWorker(backend, **settings)


def _finish(result: Any, status: Any) -> None:
    object.__setattr__(result, "finished_at", timezone.now())
    object.__setattr__(result, "status", status)


def _error(error: BaseException) -> Any:
    kind = type(error)
    return TaskError(
        exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
        traceback=trace_of(error),
    )


def __getattr__(name: str) -> Any:
    """``worker``, for ``pydisque worker``: that of the default backend."""
    if name != "worker":
        raise AttributeError(name)
    import django  # noqa: PLC0415

    django.setup()
    globals()["worker"] = made = make_worker()
    return made
