"""The settings a node starts with: gathered from flags, environment and file, and checked.

A flag comes before a variable, a variable before the file, the file before the default. Each value
keeps where it came from, so that whoever gave it is told. What a setting does is not known here.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydisque.node.config.parameters import PARAMETERS, SettingError

PREFIX = "PYDISQUE_"
CONFIG = "PYDISQUE_CONFIG"

STARTABLE = {name: parameter for name, parameter in PARAMETERS.items() if parameter.help}
"""The parameters that can be given at the start."""

_VARIABLES = {PREFIX + name.upper().replace("-", "_"): name for name in STARTABLE}


class Given(NamedTuple):
    """A value as it is stored, and where it came from."""

    value: str
    source: str


def gather(
    flags: Mapping[str, str | None], environ: Mapping[str, str], path: str | None
) -> dict[str, Given]:
    """All settings that were given, each from its most telling place.

    Args:
        flags: by the names of the settings; None for those that are not given.
        environ: the environment; an empty variable counts as none.
        path: a TOML file, if any.

    Raises:
        SettingError: a value is not allowed, or the file knows a setting that does not exist.
    """
    given = dict(_from_file(path)) if path else {}
    for variable, name in _VARIABLES.items():
        if environ.get(variable):
            given[name] = _checked(name, environ[variable], variable)
    for name, value in flags.items():
        if value is not None:
            given[name] = _checked(name, value, f"--{name}")
    return given


def data_home() -> Path:
    """Where nodes keep what they keep, if nobody says where."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "pydisque"


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look as if they were meant for a node, and are not."""
    return sorted(
        variable
        for variable in environ
        if variable.startswith(PREFIX)
        and variable not in (*_VARIABLES, CONFIG)
        and not variable.startswith(f"{PREFIX}TEST_")
    )


def from_keywords(keywords: Mapping[str, object]) -> dict[str, str]:
    """Settings given in Python, where names have underscores and None is nothing given.

    Raises:
        SettingError: there is no such setting, or it cannot have this value.
    """
    given = {}
    for keyword, value in keywords.items():
        name = keyword.replace("_", "-")
        _known(name, "")
        if value is not None:
            given[name] = _checked(name, value, "").value
    return given


def _from_file(path: str) -> Iterator[tuple[str, Given]]:
    try:
        with Path(path).open("rb") as file:
            values = tomllib.load(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError("config", f"{path} cannot be read: {reason}") from None
    for name, value in values.items():
        _known(name, path)
        yield name, _checked(name, value, path)


def _known(name: str, source: str) -> None:
    if name not in STARTABLE:
        [*close] = difflib.get_close_matches(name, STARTABLE, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SettingError(name, f"there is no such setting{hint}", source)


def _checked(name: str, value: object, source: str) -> Given:
    parameter = STARTABLE[name]
    try:
        assert parameter.read is not None  # noqa: S101 - what has a help text can be read
        return Given(parameter.read(parameter.typed(value)), source)
    except ValueError as error:
        shown = "this" if parameter.secret else repr(value)
        raise SettingError(name, f"{shown} is not allowed; allowed is {error}", source) from None
