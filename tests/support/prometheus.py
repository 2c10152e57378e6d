"""What /metrics tells, read, and held to the conventions of Prometheus."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

BASE_UNITS = ("_seconds", "_bytes")
NO_BASE_UNITS = re.compile(
    r"_(ms|us|ns|milli\w*|micro\w*|nano\w*|minutes?|hours?|days?|kb|kib|mb|mib|gb|gib|percent)(_|$)"
)


def fetch(address: str | None, path: str) -> tuple[int, str]:
    """Status and text of an answer."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Family(NamedTuple):
    """What is told of a figure."""

    kind: str
    text: str
    labels: tuple[str, ...]
    """But those of the kind itself, as ``le``."""


def values(text: str) -> dict[str, float]:
    """All samples by name and labels, as in ``name{label="value"}``."""
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.rstrip("\n").split("\n")  # names may have any character in them
        if not line.startswith("#")
    }


def families(text: str) -> dict[str, Family]:
    """All families by the names of counters and gauges, and the stems of the other kinds."""
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        shown = tuple(sorted(label for label in labels if label not in ("le", "quantile")))
        found[name] = Family(family.type, family.documentation, shown)
    return found


def names(text: str) -> set[str]:
    """The names of all samples, as queries have them."""
    return {
        sample.name
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def complaints(text: str) -> list[str]:
    """What promtool's lint would say of an exposition, and a little more."""
    found = []
    helped = re.findall(r"^# HELP (\S+)", text, re.MULTILINE)
    found += [f"{name} comes twice" for name in set(helped) if helped.count(name) > 1]
    samples = list(values(text))
    lines = [line for line in text.rstrip("\n").split("\n") if not line.startswith("#")]
    if len(samples) != len(lines):
        found.append("a sample comes twice")
    for name, family in families(text).items():
        if not family.text.endswith((".", "'")) and name.startswith("pydisque_"):
            found.append(f"{name} is not explained in a sentence")
        if not family.text:
            found.append(f"{name} has no HELP")
        if family.kind not in ("counter", "gauge", "summary", "histogram"):
            found.append(f"{name} is of no kind")
        if family.kind != "counter" and re.search(r"_(total|count|sum|bucket)$", name):
            found.append(f"{name} is named like something else")
        if NO_BASE_UNITS.search(name):
            found.append(f"{name} is in no base unit")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            found.append(f"{name} is no snake case")
    return found
