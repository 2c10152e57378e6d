"""What is shipped for monitoring speaks of figures that there are: dashboard, alerts, the page."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
import yaml

from pydisque import Client, Worker
from pydisque.monitoring.metrics import SurveyMetrics
from pydisque.monitoring.monitor import Survey
from pydisque.node import Server
from pydisque.node.config.sources import STARTABLE
from pydisque.node.observability.health import PATIENCE
from support.prometheus import Family, complaints, families, fetch, names
from support.servers import until
from support.valkeys import valkey

ROOT = Path(__file__).parents[2]
METRIC = re.compile(r"\b(?:pydisque|process)_[a-z_]+\b")
NODE, DASHBOARD, WORKER = "node", "dashboard", "worker"


def of_nodes(folder: Path) -> list[str]:
    """What nodes tell: one with a journal, one on Valkey."""
    with valkey() as server, Server(store=server.url, http=":0") as sharing:
        _, told = fetch(sharing.http_address, "/metrics")
    with Server(data=folder, http=":0") as node, Client(node.address) as client:
        client.add_job("q", "x")
        own = until(
            lambda: text if "queue=" in (text := fetch(node.http_address, "/metrics")[1]) else ""
        )
    return [told, own]


async def of_a_survey() -> str:
    """What a survey tells that has counted all there is."""
    with Server() as node, Client(node.address) as client:
        client.add_job("q", "x")
        survey = Survey([node.address])
        while not survey.queues or survey.queues[b"q"].active is None:
            await survey.look()
        await survey.ask_oldest([b"q"])
        text, _ = SurveyMetrics(survey).exposition()
        await survey.aclose()
    return text.decode()


def of_a_worker() -> str:
    with Server() as node:
        worker = Worker([node.address], http=":0")
        worker.handler("q")(print)
        worker.start()
        _, text = fetch(worker.http_address, "/metrics")
        worker.stop()
        worker.join()
    return text


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """All expositions there are, by who tells."""
    return {
        NODE: of_nodes(tmp_path_factory.mktemp("node")),
        DASHBOARD: [asyncio.run(of_a_survey())],
        WORKER: [of_a_worker()],
    }


def queries() -> dict[str, list[str]]:
    """The expressions of what is shipped, by file."""
    dashboard = json.loads((ROOT / "contrib" / "grafana.json").read_text())
    alerts = yaml.safe_load((ROOT / "contrib" / "alerts.yaml").read_text())
    return {
        "grafana.json": [
            *(t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())),
            *(v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"),
        ],
        "alerts.yaml": [rule["expr"] for group in alerts["groups"] for rule in group["rules"]],
    }


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yaml"])
def test_every_figure_in_a_query_is_told(file, told):
    """Each expression has figures in it, and all of them are told by a node, worker or survey."""
    known = set().union(*(names(text) for texts in told.values() for text in texts))
    expressions = queries()[file]
    assert len(expressions) > 10
    for expression in expressions:
        wanted = set(METRIC.findall(expression))
        assert wanted, expression
        assert wanted <= known, expression


def test_every_outcome_in_a_query_is_one(told):
    """Labels that a query picks by their values have them."""
    [worker] = told[WORKER]
    for expression in [e for each in queries().values() for e in each]:
        for label, value in re.findall(r'(outcome|direction)="([^"]+)"', expression):
            assert f'{label}="{value}"' in worker


def test_all_keep_the_conventions(told):
    """Whoever tells, figures are explained and named as Prometheus wants it."""
    for texts in told.values():
        for text in texts:
            assert not complaints(text)


def test_the_same_name_means_the_same(told):
    """A figure of several tellers is of one kind, and explained in the same words."""
    found: dict[str, tuple[str, str]] = {}
    for text in [text for texts in told.values() for text in texts]:
        for name, family in families(text).items():
            assert found.setdefault(name, family[:2]) == family[:2], name


def test_the_dashboard_can_be_imported():
    """It asks for the data source, has its rows, and no panel lies on another or has its ID."""
    dashboard = json.loads((ROOT / "contrib" / "grafana.json").read_text())
    assert dashboard["id"] is None
    panels = dashboard["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["System", "Queues", "Nodes", "Workers"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
    taken: set[tuple[int, int]] = set()
    for at in [panel["gridPos"] for panel in panels]:
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken
        taken |= cells


def test_the_table_of_figures_is_true(told):
    """docs/monitoring.md tells of each figure its kind, labels, meaning, and who tells it."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(pydisque_\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert dict(rows) == table(told)
    assert len(rows) == len(dict(rows))


def table(told: dict[str, list[str]]) -> dict[str, str]:
    """The rest of each row of the table, by the figure's name."""
    found: dict[str, Family] = {}
    tellers: dict[str, list[str]] = {}
    labels: dict[str, dict[str, None]] = {}
    for teller, texts in told.items():
        for name, family in [f for text in texts for f in families(text).items()]:
            if not name.startswith("pydisque_"):
                continue  # prometheus_client's own, which differ from system to system
            found[name] = family
            tellers.setdefault(name, [])
            if teller not in tellers[name]:
                tellers[name].append(teller)
            labels.setdefault(name, {}).update(dict.fromkeys(family.labels))
    return {
        name: " | ".join(
            (
                family.kind,
                ", ".join(f"`{label}`" for label in sorted(labels[name])),
                family.text,
                ", ".join(tellers[name]),
            )
        )
        for name, family in found.items()
    }


def test_the_container_on_the_page_is_one(tmp_path):
    """Its arguments are options there are, and the probes ask what is answered on that port."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    [block] = [b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "containers" in b]
    [container] = yaml.safe_load(block)["containers"]
    options = [*container["args"][1:]]
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert all(name.removeprefix("--") in {*STARTABLE, "host"} for name in given)
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    with Server(data=tmp_path, http=":0") as node:
        for probe in ("readinessProbe", "livenessProbe"):
            wanted = container[probe]["httpGet"]
            assert ports[wanted["port"]] == given["--http"].rpartition(":")[2]
            assert fetch(node.http_address, wanted["path"])[0] == 200
            assert container[probe]["timeoutSeconds"] > PATIENCE
