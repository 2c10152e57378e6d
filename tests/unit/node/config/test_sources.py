"""Settings: three ways to give them, one way to check them, errors that say whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydisque.node.config.parameters import PARAMETERS, SettingError
from pydisque.node.config.sources import STARTABLE, from_keywords, gather, unknown_variables


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


def test_a_flag_before_a_variable_before_the_file(file: Path) -> None:
    """Each value comes from the most telling place that has one, and knows which."""
    file.write_text("timeout = 1\nmaxclients = 1\nport = 1\n")
    environ = {"PYDISQUE_TIMEOUT": "2", "PYDISQUE_MAXCLIENTS": "2"}
    given = gather({"timeout": "3", "port": None}, environ, str(file))
    assert given == {
        "timeout": ("3", "--timeout"),
        "maxclients": ("2", "PYDISQUE_MAXCLIENTS"),
        "port": ("1", str(file)),
    }


def test_nothing_given() -> None:
    """Without anything there is nothing but the defaults; an empty variable is nothing."""
    assert gather({"port": None}, {"PYDISQUE_REQUIREPASS": "", "HOME": "/"}, None) == {}


@pytest.mark.parametrize("name", STARTABLE)
def test_every_setting_can_be_given_in_every_way(name: str, file: Path) -> None:
    """The names are the same: as a flag, in a file, and with underscores as a variable."""
    special = {"unixsocketperm": "660", "port": "7712", "announce": "host:7711", "http": ":9100"}
    typed = special.get(name, PARAMETERS[name].default)
    file.write_text(f'{name} = "{typed}"\n')
    variable = "PYDISQUE_" + name.upper().replace("-", "_")
    assert gather({name: typed}, {}, None)[name].value == typed
    assert gather({}, {variable: typed or "x"}, None)[name].value == (typed or "x")
    assert gather({}, {}, str(file))[name].value == typed
    assert from_keywords({name.replace("-", "_"): typed}) == {name: typed}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("maxclients = 5", "5"),
        ('maxclients = "5"', "5"),
        ('maxmemory = "2gb"', str(2 * 1024**3)),
        ("log-json = true", "yes"),
        ("protected-mode = false", "no"),
        ('log-json = "Yes"', "yes"),
        ('bind = ["127.0.0.1", "::1"]', "127.0.0.1,::1"),
        ('bind = "127.0.0.1, [::1]"', "127.0.0.1,::1"),
        ('disable-commands = ["DEBUG", "monitor"]', "debug,monitor"),
        ('disable-commands = "debug, monitor"', "debug,monitor"),
        ('unixsocketperm = "0640"', "640"),
    ],
)
def test_natural_types(file: Path, line: str, value: str) -> None:
    """A file may say things as TOML does."""
    file.write_text(line)
    [(name, given)] = gather({}, {}, str(file)).items()
    assert (name, given.value) == (line.partition(" ")[0], value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("maxclients = 0", "0 is not allowed; allowed is a whole number from 1 on"),
        ("maxclients = true", "True is not allowed; allowed is a whole number from 1 on"),
        ("timeout = 1.5", "1.5 is not allowed; allowed is a whole number from 0 on"),
        ("port = [1]", "[1] is not allowed; allowed is a whole number from -1 to 65535"),
        ("log-json = 1", "1 is not allowed; allowed is one of yes, no"),
        ("unixsocketperm = 0o640", "416 is not allowed; allowed is text in quotes"),
        ("bind = [1]", "[1] is not allowed; allowed is a list of texts"),
        ('bind = ""', "'' is not allowed; allowed is one address, or several with commas"),
        (
            'loglevel = "loud"',
            "'loud' is not allowed; allowed is one of debug, verbose, notice, warning",
        ),
        ("maxclient = 5", "there is no such setting; did you mean maxclients?"),
        ("hz = 5", "there is no such setting"),
        ("[users]", "{} is not allowed; allowed is text in quotes"),
    ],
)
def test_what_is_wrong_in_a_file(file: Path, line: str, told: str) -> None:
    """The error names the setting, the file, what was wrong and what is allowed."""
    file.write_text(line)
    with pytest.raises(SettingError) as caught:
        gather({}, {}, str(file))
    name = line.partition(" ")[0].strip("[]")
    assert str(caught.value).startswith(f"{name} ({file}): {told}")


def test_whose_the_error_is() -> None:
    """A wrong value of a variable is told as the variable's, one of a flag as the flag's."""
    with pytest.raises(SettingError, match=r"^timeout \(PYDISQUE_TIMEOUT\): 'x' is not allowed"):
        gather({}, {"PYDISQUE_TIMEOUT": "x"}, None)
    with pytest.raises(SettingError, match=r"^timeout \(--timeout\): 'x' is not allowed"):
        gather({"timeout": "x"}, {}, None)
    with pytest.raises(SettingError, match=r"^timeout: 'x' is not allowed"):
        from_keywords({"timeout": "x"})
    with pytest.raises(SettingError, match=r"^time-out: there is no such setting; did you mean "):
        from_keywords({"time_out": 1})


def test_no_error_shows_a_password(file: Path) -> None:
    """A password that is written wrongly is not repeated."""
    for line in ("requirepass = 123123", "requirepass = [123123]", "requirepass = 123123x"):
        file.write_text(line)
        with pytest.raises(SettingError) as caught:
            gather({}, {}, str(file))
        assert "123123" not in f"{caught.value!r} {caught.value.__context__!r}".replace(
            str(file), ""
        )


@pytest.mark.parametrize("content", [None, b"maxclients = \n", b"\xff = 1\n"])
def test_a_file_that_cannot_be_read(file: Path, content: bytes | None) -> None:
    """A file that is missing or no TOML is named, with the reason."""
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingError, match=rf"^config: {file} cannot be read: ."):
        gather({}, {}, str(file))


def test_unknown_variables() -> None:
    """What looks like a setting and is none is found; variables for tests are not meant."""
    names = ("PYDISQUE_PASSWORD", "PYDISQUE_CONFIG", "PYDISQUE_PORT", "PYDISQUE_TEST_X", "HOME")
    assert unknown_variables(dict.fromkeys(names, "1")) == ["PYDISQUE_PASSWORD"]


def test_paths_in_python(tmp_path: Path) -> None:
    """In Python a file may be given as a path."""
    assert from_keywords({"tls_cert": tmp_path}) == {"tls-cert": str(tmp_path)}
