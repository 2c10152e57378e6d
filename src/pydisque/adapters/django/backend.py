"""The backend: what Django calls to enqueue a task."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from pydisque.adapters.django.api import Backend, TaskResult, TaskResultStatus, signals
from pydisque.adapters.django.call import Call, Options, job_options
from pydisque.client.client import Client
from pydisque.dead_letters import encoded


class DisqueBackend(Backend):
    """Enqueues tasks as jobs.

    A task's result has the job's ID. It cannot be asked for again: a job that is done is forgotten.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = False
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Read the settings; the connection is opened with the first task.

        Raises:
            ImproperlyConfigured: An option is not as described.
        """
        super().__init__(alias, params)
        try:
            self.disque = Options.of(self.options)
            self.steps = self.disque.steps
            self.client = Client(self.disque.nodes, **self.disque.client)
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"TASKS[{alias!r}]: {error}") from None

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Add a job for a call; its `TaskResult`, once a node has the job.

        Raises:
            redis.exceptions.ConnectionError: No node answered. It may still have the job.
            DisqueError: The node refused it, as when the queue is paused.
        """
        self.validate_task(task)
        now = timezone.now()
        result = self.result("", task, args, kwargs, enqueued_at=now)
        call = Call(
            task.module_path, task.queue_name, task.priority, now.isoformat(),
            result.args, result.kwargs,
        )  # fmt: skip
        queue = self.steps.queue_for(task.queue_name, task.priority)
        given = job_options(self.disque, _aware(task.run_after), _aware(now))
        job_id = self.client.add_job(encoded(queue), call.to_body(), **given)
        object.__setattr__(result, "id", job_id.decode())
        signals.task_enqueued.send(type(self), task_result=result)
        return result

    def result(self, job_id: str, task: Any, args: Any, kwargs: Any, **more: Any) -> Any:
        """A result that is ready, but for what is given otherwise."""
        given = {
            "status": TaskResultStatus.READY,
            "enqueued_at": None,
            "started_at": None,
            "finished_at": None,
            "last_attempted_at": None,
            "worker_ids": [],
        } | more
        return TaskResult(
            task=task, id=job_id, args=args, kwargs=kwargs, backend=self.alias, errors=[], **given
        )


def _aware(when: datetime | None) -> Any:
    """A time of which Django says that it is local, as one that can be compared with any."""
    if when is None or timezone.is_aware(when):
        return when
    return timezone.make_aware(when)
