"""The README and the guides do what they say: all that they show is run as it stands.

The Python of one page is run in order, in one namespace, against a node of its own, and so are
its sessions with a shell and with valkey-cli, whose answers have to be those on the page. What a
page shows as a test is also run by pytest, as somebody would who copied it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Command, Context, Group

from pydisque.cli import main
from pydisque.client import Client
from pydisque.node import Server
from pydisque.node.config.parameters import PARAMETERS
from pydisque.node.config.sources import STARTABLE, gather
from pydisque.protocol import commands
from support.cli import COMMANDS, run
from support.doc_examples import (
    PROMPT,
    Ids,
    Snippet,
    Step,
    checked,
    commands_in,
    in_a_shell,
    on_the_wire,
    same,
    snippets,
    steps,
)
from support.servers import lacks, running

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
TEST = re.compile(r"^def test_", re.MULTILINE)

sys.path.insert(0, str(DOCS))
hooks = importlib.import_module("hooks")
sys.path.remove(str(DOCS))

# What is shown on a page and not run here, by the reason. Of `pydisque` its options are right.
NOT_RUN = {
    "runs until it is stopped: test_cli.py, test_cli_worker.py, test_dashboard_command.py do": {
        "pydisque serve",
        "pydisque worker",
        "pydisque dashboard",
        "PYDISQUE_MAXCLIENTS=100 pydisque serve",
        "celery -A shop worker",
        "python jobs.py",
        "python manage.py disque_worker",
        "DJANGO_SETTINGS_MODULE=shop.settings pydisque worker",
    },
    "is about this clone and its environment": {
        "make",
        "pip install",
        "PYDISQUE_TEST_DISQUE_SERVER=/path/to/disque-server make unit",
    },
    "needs a Valkey: test_operations.py has one": {
        "pydisque check valkey://",
        "pydisque dump valkey://",
        "pydisque load valkey://",
        "pydisque dump /var/lib/pydisque | pydisque load valkey://",
    },
    "needs two clusters: test_migrate.py has them": {"pydisque migrate"},
    "needs dead letters: test_dead_letters.py has them": {
        "pydisque dead show",
        "pydisque dead replay",
        "pydisque dead purge",
    },
    "would take, or need, a million jobs": {"pydisque add urls", "pydisque purge urls"},
    "never ends": {"tail -F access.log"},
    "needs other programs": {
        "redis-cli",
        "pydisque dump /var/lib/pydisque | jq",
        "pydisque jobs mail --state active --json --limit 0 | jq",
        "pydisque top --json | jq",
    },
    "sets up a machine: what of contrib/ it uses is looked at below and in test_operations.py": {
        "python3 -m venv /opt",
        "install -D",
        "cp contrib/pydisque.service",
        "systemctl",
        "pip wheel",
        "docker",
        "export",
    },
    "sets up somebody's shell: test_cli_nodes.py completes": {
        "eval",
        "_PYDISQUE_COMPLETE=fish_source pydisque",
    },
}
# Python that is only looked at, by its page.
NOT_RUN_PYTHON = {
    "django.md": "needs a project of Django's: adapters/test_django.py has one",
    "security.md": "needs certificates: test_connection.py makes some",
}

pytest_plugins = ["pytester"]


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS if page.is_relative_to(DOCS) else ROOT))


def pages_with(wanted: Callable[[Snippet], object]) -> Any:
    """The pages on which there is something like this."""
    found = [page for page in PAGES if any(map(wanted, snippets(page)))]
    return pytest.mark.parametrize("page", found, ids=name_of)


def blocks(page: Path) -> list[str]:
    return [snippet.text for snippet in snippets(page) if snippet.kind == "python"]


def sessions(page: Path, kind: str) -> list[Step]:
    """All that is typed on a page, and what it says comes of it."""
    return [step for each in snippets(page) if each.kind == kind for step in steps(each)]


def why_not(typed: str) -> str | None:
    """Why a line is not run here, if it is not."""
    listed = ((begin, reason) for reason, lines in NOT_RUN.items() for begin in lines)
    return next((why for begin, why in listed if f"{typed} ".startswith(begin)), None)


# Python


@pages_with(lambda snippet: snippet.kind == "python")
def test_the_python_on_a_page_runs(page, disque_server):
    """Every Python block of a page runs without an error, and gives what is noted beside it."""
    namespace: dict[str, object] = {"__name__": "a_page"}
    for block in blocks(page):
        code = checked(block).replace("localhost:7711", disque_server.address)
        exec(compile(code, page.name, "exec"), namespace)
    if isinstance(client := namespace.get("client"), Client):
        client.close()


@pytest.mark.parametrize("word", hooks.disque_commands())
async def test_the_example_of_a_command_is_right_for_asyncio(word, disque_server):
    """What the page of a command shows for `Client` does the same, awaited, with `AsyncClient`."""
    [block] = blocks(DOCS / "commands" / f"{word.lower()}.md")
    code = checked(hooks.awaited(block)).replace("localhost:7711", disque_server.address)
    namespace: dict[str, Any] = {}
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    await eval(compile(code, word, "exec", flags), namespace)
    await namespace["client"].close()


@pages_with(lambda snippet: TEST.search(snippet.text))
def test_the_tests_on_a_page_pass(page, pytester):
    """A page's blocks with tests, in a file of their own and with nothing to configure, pass."""
    shown = "\n".join(block for block in blocks(page) if TEST.search(block))
    pytester.makepyfile(shown)
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:asyncio", "-W", "error")
    result.assert_outcomes(passed=len(TEST.findall(shown)))


SENDS = {"add_job", "add_jobs", "add_json", "delay", "apply_async", "enqueue", "aenqueue"}


def sends_at_import(code: str) -> set[str]:
    """The calls that send something when a program which workers import is imported.

    It is one if it decorates functions by calls or attributes, or configures an app.
    """
    tree = ast.parse(code)
    decorators = [d for part in ast.walk(tree) for d in getattr(part, "decorator_list", [])]
    targets = [t for part in ast.walk(tree) if isinstance(part, ast.Assign) for t in part.targets]
    if not (decorators or any(".conf." in ast.unparse(target) for target in targets)):
        return set()
    runs = [part for part in tree.body if not isinstance(part, (*FUNCTIONS, ast.If))]
    calls = [part for top in runs for part in ast.walk(top) if isinstance(part, ast.Call)]
    return {c.func.attr for c in calls if isinstance(c.func, ast.Attribute)} & SENDS


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
MODULES = [
    *(block for page in PAGES for kind, block in snippets(page) if kind in {"python", "py"}),
    *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*.py"))),
]


def test_no_example_sends_when_a_worker_imports_it():
    """Else each start of a worker would send again what the example sends."""
    assert [block for block in MODULES if sends_at_import(block)] == []
    task = "@app.task\ndef charge(order): ...\n"
    assert sends_at_import(task + "charge.delay(7)") == {"delay"}
    assert sends_at_import("app.conf.task_queues = []\ncharge.delay(7)") == {"delay"}
    assert sends_at_import(task + "if __name__ == '__main__':\n    charge.delay(7)") == set()


# Sessions


@pages_with(lambda snippet: snippet.kind == "console")
def test_the_shell_on_a_page(page, disque_clock, disque_server, tmp_path, monkeypatch):
    """Every line for the shell does what the page says, or is listed above with the reason."""
    monkeypatch.chdir(tmp_path)
    folder = a_data_directory(tmp_path / "pydisque")
    ids, told, said = Ids(), "", ""
    for step in sessions(page, "console"):
        if why_not(step.typed):
            continue
        typed = ids.ours(step.typed)
        line = typed.replace("/var/lib/pydisque", str(folder))
        code, out = in_a_shell(disque_server.address, line, tmp_path)
        assert code == 0 or step.told, (step.typed, out)  # a failure is shown as one
        ids.learn(step.told, out)
        told += f"$ {typed}\n{out}"
        said += f"$ {step.typed}\n{step.told or out}"
    if page.name == "data-directory.md":  # its figures are those of a larger one
        told, said = (re.sub(r"\d+", "N", same(text)) for text in (told, said))
    port = disque_server.address.rpartition(":")[2]
    assert same(told.replace(port, "7711")) == same(said)


def a_data_directory(folder: Path) -> Path:
    """Where a node has kept a few jobs."""
    with Server(data=str(folder)) as server, Client(server.address) as client:
        client.add_jobs("mails", ["x", "y"])
        client.get_job(["mails"])
        client.add_job("thumbnails", "z")
        client.pause("mails", kw_in=True)
    return folder


def test_what_is_not_run_is_right_and_still_there(tmp_path, monkeypatch):
    """What the list above names is on some page, and its options of `pydisque` are right."""
    monkeypatch.chdir(tmp_path)
    Path("jobs.jsonl").touch()
    lines = [step.typed for page in PAGES for step in sessions(page, "console")]
    listed = {begin for names in NOT_RUN.values() for begin in names}
    assert {begin for begin in listed if not any(f"{x} ".startswith(begin) for x in lines)} == set()
    for line in filter(why_not, lines):
        for words in commands_in(line):
            take(words)


def take(words: list[str]) -> None:
    """Have `pydisque` read these words as it would, without doing what they say."""
    command: Command = main
    while isinstance(command, Group):
        command = command.commands[words.pop(0)]
    with command.make_context(command.name, words, parent=Context(main, **main.context_settings)):
        pass


SESSIONS = pages_with(lambda snippet: snippet.kind == "text" and steps(snippet))


@SESSIONS
def test_a_session_on_the_wire(page, disque_clock, disque_server):
    """A node answers as the page shows it."""
    answers_as_shown(disque_server.address, sessions(page, "text"))


@SESSIONS
@pytest.mark.skipif(bool(lacks("disque")), reason=str(lacks("disque")))
def test_a_session_with_disque_itself(page):
    """So does a real Disque, but for what only our node understands."""
    ours = re.compile(r"NACK .* DELAY |.* UNCOUNTED$")
    session = [step for step in sessions(page, "text") if not ours.match(step.typed)]
    with running("disque") as deployment:
        answers_as_shown(deployment.addresses[0], session)


def answers_as_shown(address: str, session: list[Step]) -> None:
    said = "".join(f"{PROMPT}{step.typed}\n{step.told}" for step in session)
    told = on_the_wire(address, session, Ids())
    assert same(told.replace(address.rpartition(":")[2], "7711")) == same(said)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_snippet_is_of_a_kind_that_is_looked_at(page):
    """Python, sessions, TOML, YAML, INI; text is a picture, or was said; other Python is listed.

    What a proxy reads, which is not here, is only looked at for its shape.
    """
    for kind, text in snippets(page):
        assert kind in {"python", "console", "toml", "ini", "yaml", "text", "py", "nginx"}
        if kind == "toml":
            assert tomllib.loads(text)
        if kind == "yaml":
            assert yaml.safe_load(text)
        if kind == "ini":
            take(started_by(text))
        if kind == "nginx":
            assert text.count("{") == text.count("}") > 0
        if kind == "console":
            assert text.startswith("$ ")
        if kind == "py":
            assert page.name in NOT_RUN_PYTHON
            assert compile(text, page.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


# What the code says


def test_every_command_has_its_page():
    """Each function of `protocol.commands` that is a command has a page with all examples."""
    found = hooks.disque_commands()
    ours = {
        name
        for name, function in vars(commands).items()
        if inspect.isfunction(function) and function.__module__ == commands.__name__
    }
    public = {name for name in ours if not name.startswith("_")}
    assert {function.__name__ for function in found.values()} == public - {"add_json"}
    for word, function in found.items():
        page = DOCS / "commands" / f"{word.lower()}.md"
        assert [kind for kind, _ in snippets(page) if kind != "console"] == ["python", "text"]
        assert f"client.{function.__name__}(" in blocks(page)[0]
        assert any(step.typed.startswith(word) for step in sessions(page, "text"))
    assert len(list((DOCS / "commands").glob("*.md"))) == len(found) + 1


def test_the_help_on_a_page_is_what_the_commands_say():
    """The page with the help of all commands has what each says at 80 columns."""
    page = hooks.all_help()
    for name in COMMANDS:
        said = run([], *name.split(), "--help", COLUMNS="80").text
        assert f"### {name}\n\n```text\n{said}```\n" in page


def test_every_page_is_in_the_navigation():
    """mkdocs.yml leads to each page."""
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")} == set(
        re.findall(r"(?:-|:) (\S+\.md)$", listed, re.MULTILINE)
    )


def test_every_link_to_a_file_leads_somewhere():
    """A link in the README or the guides to a file of this repository finds it."""
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_table_of_settings_is_true():
    """docs/configuration.md tells of each setting its default, what it does, and when it is set."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| (.*?) ?\| (.*?) ?\| (.*) \|$", page, re.MULTILINE)
    assert rows == [
        (name, f"`{p.default}`" if p.default else "", "yes" if p.settable else "", p.help)
        for name, p in STARTABLE.items()
    ]


def test_what_acts_can_be_given_at_the_start():
    """No parameter that can be set and has an effect lacks its help text."""
    act = {name for name, parameter in PARAMETERS.items() if parameter.read and not parameter.inert}
    assert act - {"appendonly"} == set(STARTABLE)


def started_by(unit: str) -> list[str]:
    """What `pydisque` gets from a unit of systemd's."""
    parsed = ConfigParser(strict=False, interpolation=None, delimiters="=")
    parsed.read_string(unit)
    return parsed["Service"]["ExecStart"].split()[1:]


def test_the_unit_and_the_container_start_a_node():
    """contrib/ starts nodes with options and variables that there are."""
    unit = (ROOT / "contrib" / "pydisque.service").read_text(encoding="utf-8")
    image = (ROOT / "contrib" / "Dockerfile").read_text(encoding="utf-8")
    [words] = re.findall(r"^CMD (\[.*\])$", image, re.MULTILINE)
    take(started_by(unit))
    take(json.loads(words))
    page = (DOCS / "deployment.md").read_text(encoding="utf-8")
    variables = set(re.findall(r"PYDISQUE_([A-Z_]+)=", unit + image + page)) - {"PASSWORD"}
    assert {name.lower().replace("_", "-") for name in variables} <= set(STARTABLE)


def test_the_sample_file_is_true():
    """contrib/pydisque.toml has every setting with its help and its default, and all are taken."""
    sample = ROOT / "contrib" / "pydisque.toml"
    text = sample.read_text(encoding="utf-8")
    values = tomllib.loads(re.sub(r"^# ([a-z-]+ = )", r"\1", text, flags=re.MULTILINE))
    assert list(values) == list(STARTABLE)
    for name, value in values.items():
        parameter = STARTABLE[name]
        assert parameter.typed(value) == parameter.default, name
        assert parameter.help in re.sub(r"\n# ", " ", text)
    assert gather({}, {}, str(sample)) == {}
