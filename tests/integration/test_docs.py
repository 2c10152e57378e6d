"""The README and the guides do what they say: their Python blocks are run as they stand.

The blocks of one page are run in order, in one namespace, against a node of their own. What a page
shows as a test is also run by pytest, as somebody would who copied it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pydisque.node.config import PARAMETERS
from pydisque.node.settings import STARTABLE, gather

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TEST = re.compile(r"^def test_", re.MULTILINE)

pytest_plugins = ["pytester"]


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def names(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=names)
def test_the_python_on_a_page_runs(page, disque_server):
    """Every Python block of a page runs without an error."""
    namespace: dict[str, object] = {"__name__": "a_page"}
    for block in blocks(page):
        code = block.replace("localhost:7711", disque_server.address)
        exec(compile(code, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", [p for p in PAGES if TEST.search(p.read_text())], ids=names)
def test_the_tests_on_a_page_pass(page, pytester):
    """A page's blocks with tests, in a file of their own and with nothing to configure, pass."""
    shown = "\n".join(block for block in blocks(page) if TEST.search(block))
    pytester.makepyfile(shown)
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:asyncio", "-W", "error")
    result.assert_outcomes(passed=len(TEST.findall(shown)))


def test_every_link_to_a_file_leads_somewhere():
    """A link in the README or the guides to a file of this repository finds it."""
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
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
