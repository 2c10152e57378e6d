"""What users install: the lines that say how, the page on PyPI."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Where users find lines that they copy, error messages and docstrings included.
FOLDERS = ("docs", "contrib", "examples", "src", "benchmarks")
PATHS = [
    *(path for path in ROOT.iterdir() if path.suffix in {".md", ".toml", ".yml"}),
    ROOT / "Makefile",
    *(path for name in FOLDERS for path in (ROOT / name).rglob("*")),
]
BINARY = {".png", ".woff2", ".pyc", ".ico", ".gif"}
TEXTS = [path for path in PATHS if path.is_file() and path.suffix not in BINARY]

# PyPI has pydisque 0.1.5, which is another program: a line that installs the package by its name
# has a floor, and others install a clone or a wheel.
FLOOR = ">=1.0"
# The name is in the same line, or begins the next one of wrapped text or a comment.
INSTALLERS = re.compile(
    r"\b(?:(?:pip3?|pipx|poetry|uv|uv pip|uv tool|conda|pdm) (?:install|add|run|download|wheel)"
    r"|uvx|easy_install)\b(?:[^`|;&<>\n]*?[\s'\"]|(?: -\S+)*\n[\s#]*['\"]?)"
    r"pydisque(\[[\w,]+\])?(?![\w/.:-]|\[)"
)


def installs_any_version(text: str) -> list[str]:
    """The lines of a text by which the old release from PyPI may be installed."""
    floor = re.compile(rf"{re.escape(FLOOR)}\b")
    return [each[0] for each in INSTALLERS.finditer(text) if not floor.match(text, each.end())]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_installs_the_old_release(path):
    """Lines that install this package work from a clone, or have a floor."""
    assert installs_any_version(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "pip install pydisque",
        "pip install 'pydisque[celery]' celery",
        "pip install celery 'pydisque[celery]'",
        "/opt/pydisque/bin/pip install pydisque",
        "RUN pip install --no-cache-dir pydisque",
        "(`pip install\n  'pydisque[valkey]'`)",
        "# /opt/venv/bin/pip install\n# pydisque), a password",
        'MISSING = "needs more: pip install pydisque[dashboard]"',
        "python -m pip install -U pydisque",
        "pipx install pydisque",
        "uvx pydisque",
        "uv pip install pydisque==0.1.5",
        "pip install 'pydisque>=0.1'",
    ],
)
def test_lines_without_a_floor_are_found(line):
    """The test above can fail."""
    assert installs_any_version(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install .",
        "pip install '.[celery]' celery",
        "pip install 'pydisque[celery]>=1.0'",
        "pip install 'pydisque>=1.0'",
        "python3 -m venv /opt/pydisque && /opt/pydisque/bin/pip install .",
        "pip wheel --no-deps -w dist .\ndocker build -t pydisque .",
        "pip install dist/pydisque-1.0.0-py3-none-any.whl",
    ],
)
def test_lines_with_a_floor_or_from_a_clone_are_right(line):
    """They install no version from before the floor."""
    assert not installs_any_version(line)


def test_the_page_on_pypi_has_no_relative_links():
    """README's links to files lead into the repository that the project names, and exist there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for each in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        readme = re.sub(each["pattern"], each["replacement"], readme)
    targets = re.findall(r"\]\(([^)]+)\)", readme)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    base = PROJECT["project"]["urls"]["Repository"] + "/blob/HEAD/"
    files = [target.removeprefix(base) for target in targets if target.startswith(base)]
    assert len(files) > 20
    assert [name for name in files if not (ROOT / name.partition("#")[0]).exists()] == []
    assert not re.search(r"!\[|<img|\]\[|^\[.+\]:", readme, re.MULTILINE)  # not substituted


def test_a_package_has_one_floor():
    """What several extras need has the same lowest version in each, so `make lowest` tests it."""
    lists = [PROJECT["project"]["dependencies"]]
    lists += PROJECT["project"]["optional-dependencies"].values()
    floors: dict[str, set[str]] = {}
    for requirement in [each for names in lists for each in names]:
        name = re.split(r"[\[<>=]", requirement)[0]
        floors.setdefault(name, set()).add(requirement)
    assert [sorted(several) for several in floors.values() if len(several) > 1] == []
    bounded = {name for name, [only] in floors.items() if ">=" in only}
    assert set(floors) - bounded == {"mkdocs"}
