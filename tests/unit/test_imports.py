"""Who may import whom: a file only knows what stands below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pydisque

ROOT = Path(pydisque.__file__).parent

# Each may import what stands before it in this list, in the package at large.
LAYERS = [
    "errors",
    "paths",
    "watching",
    "hosts",
    "door",
    "exposition",
    "envelope",
    "tracing",
    "words",
    "arguments",
    "replies",
    "addresses",
    "binding",
    "command",
    "commands",
    "nodes",
    "journey",
    "put_back",
    "dead_letters",
    "pipeline",
    "connection",
    "routing",
    "facade",
    "transport",
    "client",
    "migration_plan",
    "migration_journal",
    "migration_source",
    "migration",
    "async_connection",
    "async_line",
    "async_transport",
    "async_client",
]

# The same for the node, which may also import `pydisque` itself, for its version, and these.
FOR_ALL = ["errors", "paths", "watching", "hosts", "door", "exposition"]
NODE_LAYERS = [
    "resp",
    "certificates",
    "later",
    "job",
    "queue",
    "asked_queues",
    "changes",
    "expiry",
    "engine",
    "restore",
    "waiting",
    "store",
    "records",
    "homes",
    "journal",
    "replay",
    "sense",
    "dump",
    "intake",
    "data_directory",
    "durable",
    "commits",
    "turns",
    "seldom",
    "states",
    "arguments",
    "config",
    "backlog",
    "settings",
    "users",
    "listening",
    "node",
    "job_commands",
    "server_commands",
    "diagnostics",
    "table",
    "connection",
    "doorway",
    "watch",
    "metrics",
    "health",
    "server",
]

# The same for the store on Valkey, which may also import what stands before `durable` in the node.
VALKEY_LAYERS = [
    *("place", "promotable", "layout", "batch", "line", "clocks", "sentinels", "replicas"),
    *("copies", "lanes", "shard", "gathering", "scan", "system"),
    *("alarm", "fellows", "births", "store"),
    *("own", "visit", "moving", "checking"),
]

# The same for the worker, which may also import all of the client.
WORKER_LAYERS = [
    "returned",
    "forks",
    "job",
    "handler",
    "tally",
    "verdict",
    "hooks",
    "loops",
    "settle",
    "leases",
    "appetite",
    "executor",
    "threads",
    "tasks",
    "job_process",
    "processes",
    "executors",
    "plan",
    "renewal",
    "answers",
    "core",
    "metrics",
    "tracing",
    "instruments",
    "health",
    "signals",
    "worker",
]

# The same for the survey, which may also import all of the client.
SURVEY_LAYERS = ["figures", "census", "probe", "absent", "survey", "jobs", "metrics"]

# The same for the dashboard, which may also import all of the client and the survey.
DASHBOARD_LAYERS = [
    *("names", "charts", "auth", "settings", "watch", "clients", "jobs", "actions", "metrics"),
    *("listening", "views", "guard", "pages", "forms", "app"),
]

# The same for the live view, which may also import all of the client and the survey, and of the
# other commands how they show things.
TOP_LAYERS = [
    *("keys", "charts", "sorts", "columns", "pages", "model", "rendering", "terminal", "live"),
    "__init__",
]
SHOWING = ("common", "parameters", "bodies", "tables", "get")

# The same for the adapters, which may also import all of the client and the worker; none of those
# imports an adapter.
ADAPTER_LAYERS = [
    "steps",
    "aliases",
    "kombu/wire",
    "kombu/bindings",
    "kombu/celery_apps",
    "kombu/intake",
    "kombu/channel",
    "kombu/transport",
    "kombu/__init__",
    "django/api",
    "django/apps",
    "django/call",
    "django/backend",
    "django/__init__",
    "django/worker",
    "django/management/__init__",
    "django/management/commands/__init__",
    "django/management/commands/disque_worker",
]

PURE = [
    *(
        "watching",
        "hosts",
        "arguments",
        "replies",
        "addresses",
        "binding",
        "command",
        "commands",
        "nodes",
        "journey",
    ),
    *("put_back", "migration_plan"),
    *(
        "node/resp",
        "node/job",
        "node/queue",
        "node/changes",
        "node/expiry",
        "node/engine",
        "node/restore",
        "node/records",
        "node/homes",
        "node/sense",
        "node/dump",
        "node/intake",
        "node/waiting",
        "node/arguments",
        "node/valkey/place",
        "node/valkey/promotable",
        "node/valkey/layout",
        "node/valkey/batch",
        "node/valkey/lanes",
        "node/valkey/fellows",
        "node/valkey/gathering",
    ),
    *("envelope", "dead_letters", "worker/job", "worker/handler", "worker/verdict"),
    *("worker/settle", "worker/leases", "worker/appetite", "worker/plan"),
    *("survey/figures", "survey/census", "words"),
    *("dashboard/names", "dashboard/charts", "dashboard/auth", "dashboard/settings"),
    *(f"cli/top/{name}" for name in ("keys", "charts", "sorts", "columns", "pages", "model")),
    "cli/top/rendering",
    *("adapters/steps", "adapters/kombu/wire", "adapters/django/call"),
]
NOT_IN_PURE = {"asyncio", "socket", "select", "sqlite3", "time", "random", "redis", "hiredis", "os"}


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, at its head or within a function."""
    found = set()
    tree = ast.parse(path.read_text())
    for part in tree.body[:]:
        if isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING":
            tree.body.remove(part)  # calls nothing
    for part in ast.walk(tree):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            names = {f"{part.module}.{alias.name}" for alias in part.names}
            packages = {"pydisque", "pydisque.node", "pydisque.node.valkey", "pydisque.worker"}
            packages.add("pydisque.dashboard")
            package = part.module in packages
            found |= names if package else {part.module or ""}
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_a_module_imports_only_what_is_below_it(name):
    """No file of the client calls upward, and none knows the node."""
    below = {f"pydisque.{other}" for other in LAYERS[: LAYERS.index(name)]}
    ours = {other for other in imports_of(ROOT / f"{name}.py") if other.startswith("pydisque")}
    assert ours <= below


@pytest.mark.parametrize("name", NODE_LAYERS)
def test_a_module_of_the_node_imports_only_what_is_below_it(name):
    """No file of the node calls upward, and none knows the client."""
    below = {f"pydisque.node.{other}" for other in NODE_LAYERS[: NODE_LAYERS.index(name)]}
    below |= {f"pydisque.{other}" for other in FOR_ALL} | {"pydisque.__version__"}
    if name == "server":
        below |= {f"pydisque.node.valkey.{other}" for other in VALKEY_LAYERS}
    ours = {m for m in imports_of(ROOT / "node" / f"{name}.py") if m.startswith("pydisque")}
    assert ours <= below


@pytest.mark.parametrize("name", VALKEY_LAYERS)
def test_a_module_of_the_store_on_valkey_imports_only_what_is_below_it(name):
    """No file of it calls upward, and none knows the node's connections."""
    below = {
        f"pydisque.node.valkey.{other}" for other in VALKEY_LAYERS[: VALKEY_LAYERS.index(name)]
    }
    below |= {f"pydisque.node.{other}" for other in NODE_LAYERS[: NODE_LAYERS.index("durable")]}
    below |= {"pydisque.errors"}
    path = ROOT / "node" / "valkey" / f"{name}.py"
    assert {m for m in imports_of(path) if m.startswith("pydisque")} <= below


@pytest.mark.parametrize("name", WORKER_LAYERS)
def test_a_module_of_the_worker_imports_only_what_is_below_it(name):
    """No file of the worker calls upward or knows the node; annotations may name anything."""
    below = {f"pydisque.worker.{other}" for other in WORKER_LAYERS[: WORKER_LAYERS.index(name)]}
    below |= {f"pydisque.{other}" for other in LAYERS} | {"pydisque.__version__"}
    ours = {m for m in imports_of(ROOT / "worker" / f"{name}.py") if m.startswith("pydisque")}
    assert ours <= below


@pytest.mark.parametrize("name", SURVEY_LAYERS)
def test_a_module_of_the_survey_imports_only_what_is_below_it(name):
    """No file of the survey calls upward, or knows the node or who shows it."""
    below = {f"pydisque.survey.{other}" for other in SURVEY_LAYERS[: SURVEY_LAYERS.index(name)]}
    below |= {f"pydisque.{other}" for other in LAYERS}
    ours = {m for m in imports_of(ROOT / "survey" / f"{name}.py") if m.startswith("pydisque")}
    assert ours <= below


@pytest.mark.parametrize("name", DASHBOARD_LAYERS)
def test_a_module_of_the_dashboard_imports_only_what_is_below_it(name):
    """No file of the dashboard calls upward, or knows the node or the command line."""
    at = DASHBOARD_LAYERS.index(name)
    below = {f"pydisque.dashboard.{other}" for other in DASHBOARD_LAYERS[:at]}
    below |= {f"pydisque.{other}" for other in LAYERS}
    below |= {"pydisque.survey", "pydisque.survey.metrics"}
    ours = {m for m in imports_of(ROOT / "dashboard" / f"{name}.py") if m.startswith("pydisque")}
    assert ours <= below


@pytest.mark.parametrize("name", TOP_LAYERS)
def test_a_module_of_the_live_view_imports_only_what_is_below_it(name):
    """No file of it calls upward, or knows the node or another command than `show`."""
    below = {f"pydisque.cli.top.{other}" for other in TOP_LAYERS[: TOP_LAYERS.index(name)]}
    below |= {"pydisque.cli.top", "pydisque.survey", "pydisque.survey.jobs"}
    below |= {f"pydisque.{other}" for other in LAYERS} | {f"pydisque.cli.{o}" for o in SHOWING}
    ours = {m for m in imports_of(ROOT / "cli" / "top" / f"{name}.py") if m.startswith("pydisque")}
    assert ours <= below


@pytest.mark.parametrize("name", ADAPTER_LAYERS)
def test_a_module_of_an_adapter_imports_only_what_is_below_it(name):
    """No file of an adapter calls upward or knows the node."""
    below = {module_of(other) for other in ADAPTER_LAYERS[: ADAPTER_LAYERS.index(name)]}
    below |= {f"pydisque.{other}" for other in LAYERS} | {"pydisque.__version__"}
    below |= {f"pydisque.worker.{other}" for other in WORKER_LAYERS} | {"pydisque.adapters"}
    ours = {m for m in imports_of(ROOT / "adapters" / f"{name}.py") if m.startswith("pydisque")}
    assert ours <= below


def module_of(adapter: str) -> str:
    return f"pydisque.adapters.{adapter.replace('/', '.')}"


def test_every_module_has_its_layer():
    """A new file of the client, the node or the worker is put into one of the lists above."""
    tools = {"__init__", "__main__", "demo", "logs", "pytest_plugin", "systemd", "testing"}
    assert {path.stem for path in ROOT.glob("*.py")} - tools == set(LAYERS)
    assert {path.stem for path in (ROOT / "node").glob("*.py")} - tools == set(NODE_LAYERS)
    valkey = {path.stem for path in (ROOT / "node" / "valkey").glob("*.py")}
    assert valkey - {"__init__"} == set(VALKEY_LAYERS)
    worker = {path.stem for path in (ROOT / "worker").glob("*.py")}
    assert worker - {"__init__"} == set(WORKER_LAYERS)
    survey = {path.stem for path in (ROOT / "survey").glob("*.py")}
    assert survey - {"__init__"} == set(SURVEY_LAYERS)
    dashboard = {path.stem for path in (ROOT / "dashboard").glob("*.py")}
    assert dashboard - {"__init__"} == set(DASHBOARD_LAYERS)
    top = {path.stem for path in (ROOT / "cli" / "top").glob("*.py")}
    assert top == set(TOP_LAYERS)
    root = ROOT / "adapters"
    adapters = {str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.py")}
    assert {name for name in adapters if name != "__init__"} == set(ADAPTER_LAYERS)


@pytest.mark.parametrize("name", PURE)
def test_what_decides_does_no_io(name):
    """What decides imports nothing that could open, wait, or look at a clock."""
    roots = {module.partition(".")[0] for module in imports_of(ROOT / f"{name}.py")}
    assert not roots & NOT_IN_PURE


def test_importing_pydisque_is_light():
    """`import pydisque` loads neither the node nor what only the node and the tools need."""
    heavy = ["pydisque.node", "uvloop", "asyncio.runners", "click", "rich", "sortedcontainers"]
    code = f"import sys, pydisque; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    without = subprocess.run(
        [sys.executable, "-c", code.replace("pydisque;", "redis;")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(ast.literal_eval(done.stdout)) <= set(ast.literal_eval(without.stdout))


def test_the_command_line_is_light_to_load():
    """`pydisque --help` waits for nothing that only its commands need."""
    heavy = [
        *("pydisque.node", "pydisque.survey", "uvloop", "rich", "watchfiles", "sqlite3"),
        *("jinja2", "starlette"),
    ]
    code = f"import sys, pydisque.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
