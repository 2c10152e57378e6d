"""How bodies are shown, and what else others wrote: as text, as JSON, as bytes, and harmless."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from pydisque.monitoring.text import (
    hex_dump,
    is_text,
    json_laid_out,
    laid_out,
    number,
    shown,
    shown_lines,
)
from pydisque.protocol.envelope import LONGEST_SHOWN, unwrap

# Letters of a body in a line of a table, and bytes of one that is no text to show.
LONGEST_LINE = 200
LONGEST_HEX = 4096
# Letters of JSON over several lines; what is longer is shown as it is.
LONGEST_LAID_OUT = 4 << 20


# For people


def in_a_line(body: bytes | None) -> str:
    """The beginning of a body, without its headers."""
    inner, _ = opened(body or b"")
    start = inner[: 4 * LONGEST_LINE]  # a letter has four bytes at most
    text = shown(start)
    if len(text) <= LONGEST_LINE and len(start) == len(inner):
        return text
    return f"{text[: LONGEST_LINE - 1]}…"


def opened(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """A body without its headers, and these, for people."""
    return unwrap(body, LONGEST_SHOWN)


Section = tuple[str, str]


def sections_of(
    body: bytes, headers: Mapping[str, Any], longest: int = LONGEST_LAID_OUT
) -> list[Section]:
    """The headers and the body for people, each with its title.

    What is longer than `longest` letters laid out is shown as it is.
    """
    kind, text = _readable(body, longest)
    shown_headers = _headers(headers, longest) if headers else ""
    return [("headers", shown_headers), (f"body, {number(len(body), 'byte')}{kind}", text)]


def _headers(headers: Mapping[str, Any], longest: int) -> str:
    spread = laid_out(headers, longest)
    return spread if len(spread) <= longest else json.dumps(headers, ensure_ascii=False)


def print_sections(*sections: Section) -> None:
    """Print what has lines of its own, each part under its title; empty ones are left out."""
    for title, text in sections:
        if text:
            click.echo(f"\n{title}:\n{shown_lines(text.rstrip())}")


def _readable(body: bytes, longest: int) -> tuple[str, str]:
    """A body for people, and what it is."""
    if b"\0" in body or not is_text(body):  # no text has NULs, though UTF-8 may
        return "", as_hex(body)
    text = body.decode()
    spread = json_laid_out(text, longest)
    if spread is None:
        return "", text
    return " of JSON", spread if len(spread) <= longest else text


def as_hex(body: bytes) -> str:
    """The beginning of a body byte by byte."""
    dump = hex_dump(body[:LONGEST_HEX])
    if len(body) > LONGEST_HEX:
        dump += f"\nand {len(body) - LONGEST_HEX} bytes more, which --json has"
    return dump


# For programs


def text_or_base64(name: str, value: bytes) -> dict[str, str]:
    """A value as JSON knows it; one that is no text goes by another name."""
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def body_as_dict(body: bytes | None) -> dict[str, Any]:
    """A body for JSON, and the headers beside it if there are any."""
    if body is None:
        return {"body": None}
    inner, headers = unwrap(body)
    return ({"headers": headers} if headers else {}) | text_or_base64("body", inner)


def fields_as_dict(fields: Iterable[Any]) -> dict[str, Any]:
    """The flat list of names and values that a node describes a job or a queue with, for JSON."""
    told: dict[str, Any] = {}
    each = iter(fields)
    for name, value in zip(each, each, strict=True):
        told |= _field(name.decode().replace("-", "_"), value)
    return told


def _field(name: str, value: Any) -> dict[str, Any]:
    if name == "body":
        return body_as_dict(value)
    if isinstance(value, list):
        return {name: [each.decode() for each in value]}
    return text_or_base64(name, value) if isinstance(value, bytes) else {name: value}


def print_json(objects: Iterable[Mapping[str, Any]]) -> None:
    """Print objects, each in a line, all at once."""
    if lines := "".join(f"{json.dumps(each)}\n" for each in objects):
        click.echo(lines, nl=False)


def print_raw(bodies: Iterable[bytes | None]) -> None:
    """Print bodies as they are, each with a line end, all at once."""
    click.echo(b"".join((body or b"") + b"\n" for body in bodies), nl=False)
