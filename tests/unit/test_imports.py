"""The layout of the sources: which package may import which, and which modules do no I/O.

An import counts wherever it stands: at the head of a file, in a function, or for annotations.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pydisque

ROOT = Path(pydisque.__file__).parent

# A module imports its own package and packages above it in this list. A name stands for everything
# below it that has no line of its own; the root package imports what it makes public.
ORDER = [
    *("_version", "errors", "service", "protocol", "tracing", "client", "dead_letters"),
    *("monitoring", "survey", "migration"),
    *("worker.handlers", "worker.executors", "worker.consumer", "worker"),
    *("node.engine", "node.config", "node.store", "node.store.durable", "node.store.dump"),
    *("node.store.valkey", "node.wire", "node.state", "node.commands", "node.observability"),
    *("node", "testing", "adapters", "adapters.kombu", "adapters.django", "dashboard"),
    *("cli.output", "cli.options", "cli.top", "cli.commands", "cli", "__main__", ""),
]

# Packages that a package does not import although they are above it.
APART = {
    "monitoring": ["dead_letters"],
    "migration": ["dead_letters", "monitoring", "survey"],
    "worker": ["survey", "migration"],
    "node": ["tracing", "client", "dead_letters", "monitoring", "survey", "migration", "worker"],
    "adapters.kombu": ["node", "testing", "migration"],
    "adapters.django": ["node", "testing", "migration", "adapters.kombu"],
    "dashboard": ["worker", "node", "testing", "adapters", "migration"],
    "cli.output": ["worker", "node", "testing", "adapters", "dashboard", "migration"],
    "cli.top": ["worker", "node", "testing", "adapters", "dashboard", "migration"],
}

# Modules that decide: none of them opens anything, waits, or reads a clock.
PURE = [
    *("protocol", "dead_letters", "node.engine", "service.top_queues", "service.hosts"),
    *("client.signatures", "client.nodes", "client.failover", "client.requeue", "migration.plan"),
    *("monitoring.figures", "monitoring.state_counts", "monitoring.text"),
    *("worker.handlers.handler", "worker.handlers.job", "worker.handlers.policy"),
    *("worker.handlers.outcomes", "worker.handlers.stats"),
    *("worker.consumer.leases", "worker.consumer.prefetch", "worker.consumer.config"),
    *("node.states", "node.wire.resp", "node.wire.arguments", "node.store.wait_queue"),
    *("node.store.deferred", "node.store.durable.records", "node.store.durable.compaction"),
    *("node.store.dump.line_format", "node.store.dump.loader", "node.store.dump.validation"),
    *(f"node.store.valkey.{name}" for name in ("url", "keys", "batch", "lanes", "membership")),
    *("node.store.valkey.promotable", "node.store.valkey.multi_queue"),
    *("adapters.priorities", "adapters.kombu.messages", "adapters.django.call"),
    *(f"dashboard.{name}" for name in ("urls", "charts", "auth", "settings")),
    *(f"cli.top.{name}" for name in ("keys", "charts", "sort_keys", "columns", "pages", "state")),
    "cli.top.rendering",
]
NOT_IN_PURE = {"asyncio", "socket", "select", "sqlite3", "time", "random", "redis", "hiredis", "os"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def imports_of(name: str) -> set[str]:
    """Every module that a module imports; ours without the leading `pydisque.`."""
    found = set()
    for part in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(part, ast.Import):
            found |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            for alias in part.names:
                full = f"{part.module}.{alias.name}"
                is_module = full.removeprefix("pydisque.") in MODULES
                found.add(full if is_module else part.module or "")
    return {
        module.removeprefix("pydisque.") if "pydisque" in module else module for module in found
    }


def is_in(name: str, package: str) -> bool:
    return not package or name == package or name.startswith(f"{package}.")


def package_of(name: str) -> str:
    """The longest entry of ORDER that a module belongs to."""
    return max((entry for entry in ORDER if is_in(name, entry)), key=len)


def ours_in(name: str) -> set[str]:
    return {module for module in imports_of(name) if module in MODULES} - {name}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {""}))
def test_a_module_imports_only_packages_above_its_own(name):
    """No import leads to a package below, nor to one that the package is kept apart from."""
    package = package_of(name)
    above = ORDER[: ORDER.index(package) + 1]
    apart = [other for entry, others in APART.items() if is_in(name, entry) for other in others]
    for module in ours_in(name):
        assert package_of(module) in above, module
        assert not any(is_in(module, other) for other in apart), module


def test_no_modules_import_each_other_in_a_circle():
    """Also within a package each module can be read after those that it imports."""
    try:
        TopologicalSorter({name: ours_in(name) - {""} for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_root_has_few_modules():
    """What a newcomer sees first fits on one line; everything else is in a package."""
    modules = {path.stem for path in ROOT.glob("*.py")} - {"__init__", "__main__"}
    assert modules == {"_version", "errors", "dead_letters", "tracing"}


@pytest.mark.parametrize("name", [name for name in MODULES if any(is_in(name, p) for p in PURE)])
def test_what_decides_does_no_io(name):
    """A pure module imports nothing that could open, wait, or read a clock."""
    assert not {module.partition(".")[0] for module in imports_of(name)} & NOT_IN_PURE


def loaded(code: str, modules: list[str]) -> list[str]:
    """Which of these modules are loaded after the code."""
    code = f"import sys\n{code}\nprint([m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout)


def test_importing_pydisque_is_light():
    """`import pydisque` loads neither the node nor what only the node and the tools need."""
    heavy = ["pydisque.node", "uvloop", "asyncio.runners", "click", "rich", "sortedcontainers"]
    assert set(loaded("import pydisque", heavy)) <= set(loaded("import redis", heavy))


def test_the_command_line_is_light_to_load():
    """`pydisque --help` waits for nothing that only its commands need."""
    heavy = [
        *(
            "pydisque.node",
            "pydisque.monitoring.monitor",
            "uvloop",
            "rich",
            "watchfiles",
            "sqlite3",
        ),
        *("jinja2", "starlette"),
    ]
    assert loaded("import pydisque.cli", heavy) == []
