"""Django's tasks run on Disque: a project that enqueues them, and the worker beside it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time

import pytest

from pydisque.dead_letters import peek
from support.servers import until

from .conftest import HERE

PROJECT = HERE / "django_project"


@pytest.fixture
def environment(disque_server, notes, tmp_path):
    return {
        "DATABASE": str(tmp_path / "db.sqlite3"),
        "DISQUE": disque_server.address,
        "NOTES": str(notes),
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": str(PROJECT),
    }


@pytest.fixture
def run(start, environment):
    """Runs a file of the project to its end, and returns what it printed."""

    def finish(*arguments):
        program = start(*arguments, **environment)
        assert program.process.wait(30) == 0, program.log.read_text()
        return program.log.read_text()

    return finish


def test_a_project_runs_its_tasks(run, start, environment, noted, disque_client):
    """Enqueued in any way, tasks run by priority, when they are due, again when they fail."""
    manage = str(PROJECT / "manage.py")
    run(manage, "migrate", "--run-syncdb", "--verbosity", "0")
    begun = time.time()
    job_id, status, enqueued = run(str(PROJECT / "produce.py")).split()[-3:]
    assert (len(job_id), status, enqueued) == (40, "READY", "True")
    assert disque_client.show(job_id).queue == b"default"
    worker = start(manage, "disque_worker", **environment)
    lines = noted(10)
    assert lines[:2] == ["fail 1", "fail 1"]
    assert [line for line in lines if line.startswith("sold")] == [
        "sold first True", "sold committed False", "sold awaited False", "sold last False"
    ]  # fmt: skip
    failed = sorted(line for line in lines if line.startswith("fail"))
    assert failed == ["fail 1", "fail 1", "fail 2", "fail 2", "fail 3"]
    [reported] = noted(1, "report")
    assert float(reported.split()[1]) - begun >= 2
    [letter] = until(lambda: peek(disque_client, "default:p1:dead", 2))
    assert "not yet" in letter.letter.error
    assert worker.terminate() == 0
    with sqlite3.connect(environment["DATABASE"]) as database:
        sold = {what for (what,) in database.execute("SELECT what FROM shop_sale")}
    database.close()
    assert sold == {"first", "last", "committed", "awaited"}


def test_the_command_of_pydisque_runs_them_too(start, environment, disque_client, run, noted):
    """`pydisque worker` finds the worker by its module; what is no call is a dead letter."""
    run(str(PROJECT / "manage.py"), "migrate", "--run-syncdb", "--verbosity", "0")
    disque_client.add_job("reports", "hello")
    run(str(PROJECT / "produce.py"))
    arguments = ("-m", "pydisque", "worker", "pydisque.adapters.django.worker")
    worker = start(*arguments, **environment)
    noted(4, "sold")
    until(lambda: disque_client.qlen("reports:dead") == 1)
    assert worker.terminate() == 0


def refusal(environment, options):
    """What a project with these options says when it is started."""
    code = (
        "import settings, django\n"
        f"settings.TASKS['default']['OPTIONS'] = {options!r}\n"
        "django.setup()\n"
        "from pydisque.adapters.django.api import task_backends\n"
        "task_backends['default']\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"host": "x"}, "no such option: host"),
        ({"nodes": ["http://x"]}, "cannot be reached by 'http'"),
        ({"priority_steps": ["high"]}, "must be an int"),
    ],
)
def test_a_wrong_option_is_refused(environment, options, text):
    """When the backend is first used, by Django's own error."""
    said = refusal(environment, options)
    assert said.startswith("django.core.exceptions.ImproperlyConfigured: TASKS['default']: ")
    assert text in said
