"""The parameters of a node: what is shown, what may be set to what, which names a pattern fits."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.errors import DisqueError
from pydisque.node.config.parameters import PARAMETERS, Config, glob


def test_what_is_given_stands_over_the_defaults() -> None:
    """A node starts from the defaults and what it was told."""
    config = Config(requirepass="secret", port="1")
    assert (config["requirepass"], config["port"], config["timeout"]) == ("secret", "1", "0")


@pytest.mark.parametrize(
    ("name", "typed", "stored"),
    [
        ("maxmemory", "5", "5"),
        ("maxmemory", "5b", "5"),
        ("maxmemory", "2k", "2000"),
        ("maxmemory", "2KB", "2048"),
        ("maxmemory", "3m", "3000000"),
        ("maxmemory", "3Mb", "3145728"),
        ("maxmemory", "1g", "1000000000"),
        ("maxmemory", "1gb", "1073741824"),
        ("maxmemory", "", "0"),
        ("maxmemory", "99999999999999999999", "9223372036854775807"),
        ("timeout", "+007", "7"),
        ("timeout", "", "0"),
        ("hz", "0", "1"),
        ("hz", "600", "500"),
        ("TIMEOUT", "3", "3"),
        ("loglevel", "DEBUG", "debug"),
        ("maxmemory-policy", "NoEviction", "noeviction"),
        ("appendonly", "no", "no"),
        ("activerehashing", "No", "no"),
        ("requirepass", "", ""),
        ("client-output-buffer-limit", "normal 1 2 3", "normal 1 2 3"),
        ("client-output-buffer-limit", "normal 0 0 0 normal 1mb 2 3", "normal 1048576 2 3"),
        ("watchdog-period", "0", "0"),
        ("watchdog-period", "1", "200"),
        ("watchdog-period", "201", "201"),
    ],
)
def test_what_is_typed_and_what_is_stored(name: str, typed: str, stored: str) -> None:
    """Sizes with their units, numbers and words are read as a Disque server reads them."""
    config = Config()
    assert config.set(name, typed) == name.lower()
    assert config[name.lower()] == stored


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("maxmemory", "-1"),
        ("maxmemory", "1 mb"),
        ("maxmemory", "1.5"),
        ("maxmemory", "\u0663"),
        ("maxmemory-samples", "0"),
        ("timeout", "-1"),
        ("timeout", " 5"),
        ("timeout", "\u0663"),
        ("timeout", "9223372036854775808"),
        ("hz", "-1"),
        ("hz", "x"),
        ("slowlog-log-slower-than", "-1"),
        ("maxclients", "0"),
        ("loglevel", "loud"),
        ("appendonly", "yes"),
        ("maxmemory-policy", "lru"),
        ("client-output-buffer-limit", "slave 0 0 0"),
        ("client-output-buffer-limit", "normal 1 2"),
        ("client-output-buffer-limit", "normal  0 0 0"),
        ("client-output-buffer-limit", "normal 0 0 0 "),
        ("client-output-buffer-limit", "NORMAL 0 0 0"),
        ("maxmemory", "9999999999gb"),
        ("maxmemory", "-0"),
    ],
)
def test_a_value_that_is_not_allowed_changes_nothing(name: str, typed: str) -> None:
    """A refused value is named in the error, and the parameter stays as it was."""
    config = Config()
    with pytest.raises(DisqueError) as caught:
        config.set(name, typed)
    assert str(caught.value) == f"Invalid argument '{typed}' for CONFIG SET '{name}'"
    assert config[name] == PARAMETERS[name].default


@pytest.mark.parametrize("name", ["port", "bind", "users", "tls-cert", "bogus", ""])
def test_what_cannot_be_set(name: str) -> None:
    """Parameters fixed at the start, and those that do not exist, are refused by name."""
    with pytest.raises(DisqueError, match=f"^Unsupported CONFIG parameter: {name}$"):
        Config().set(name, "1")


def test_a_bad_directory_says_why() -> None:
    """CONFIG SET dir tells the system's reason."""
    with pytest.raises(DisqueError, match=r"^Changing directory: No such file or directory$"):
        Config().set("dir", "/nowhere/at/all")


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("h?", ["hz"]),
        ("maxm*", ["maxmemory", "maxmemory-samples", "maxmemory-policy"]),
        ("[gh]z", ["hz"]),
        ("[a-h]z", ["hz"]),
        ("[h-a]z", ["hz"]),
        ("[^h]z", []),
        ("[^a]z", ["hz"]),
        ("h[z", ["hz"]),
        ("h[]z", []),
        (r"\h\z", ["hz"]),
        (r"h\[", []),
        ("HZ", []),
        ("", []),
        ("d*r", ["dir"]),
        ("*r", ["dir"]),
        ("p*t", ["port"]),
    ],
)
def test_patterns(pattern: str, fitting: list[str]) -> None:
    """Patterns of CONFIG GET fit as Disque's do, and show their finds in its order."""
    assert [name for name, _ in Config().matching(pattern)] == fitting


def test_a_star_fits_all_in_the_order_of_the_table() -> None:
    """CONFIG GET * shows every parameter of Disque once, and none of our own."""
    names = [name for name, _ in Config().matching("*")]
    assert names == [name for name, parameter in PARAMETERS.items() if not parameter.own]
    assert (names[0], names[-1], len(names)) == ("requirepass", "bind", 35)


@pytest.mark.parametrize("pattern", ["auth-timeou?", "*auth-timeout", "AUTH-TIMEOUT"])
def test_our_own_parameters_are_shown_by_their_exact_names(pattern: str) -> None:
    """What Disque does not have never turns up for a pattern, only for its name."""
    assert Config().matching(pattern) == []
    assert Config().matching("auth-timeout") == [("auth-timeout", "60")]


@given(st.text("abc*?", max_size=12), st.text("abc", max_size=12))
def test_stars_and_marks_fit_what_they_should(pattern: str, text: str) -> None:
    """For patterns without brackets the answer is that of a plain regular expression."""
    plain = pattern.replace("*", ".*").replace("?", ".")
    assert bool(glob(pattern)(text)) == bool(re.fullmatch(plain, text))


@given(st.text("ab[]^-\\*?", max_size=12))
def test_no_pattern_breaks_it(pattern: str) -> None:
    """Any pattern, well formed or not, gives an answer."""
    glob(pattern)("abab")


def test_no_pattern_takes_long() -> None:
    """A pattern made to be tried in every possible way is answered at once."""
    started = time.monotonic()
    assert Config().matching("*?" * 14 + "x") == []
    assert glob("*a" * 30 + "b")("a" * 60) is None
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "10.0.0.5:7711",
        "node1:7711",
        "node_1.example.org.:1",
        "[fd00::5]:7711",
        "fd00::5:7711",
        "1node:65535",
    ],
)
def test_what_can_be_announced(typed: str) -> None:
    """An address or a name, and a port, are what clients can connect to."""
    read = PARAMETERS["announce"].read
    assert read is not None
    assert read(typed) == typed


@pytest.mark.parametrize(
    "typed",
    [
        "node1",
        ":7711",
        "node1:0",
        "node1:65536",
        "node1:+1",
        "node1:\u0663",
        "node 1:7711",
        " node1:7711",
        "node1\x1b[2J:7711",
        "node1\n:7711",
        "node1\0:7711",
        "user@node1:7711",
        "http://node1:7711",
        "a,b:7711",
        "node1/:7711",
        "n\u00f6de:7711",
        "0.0.0.0:7711",
        "[::]:7711",
        "300.1.1.1:7711",
        "10.0.5:7711",
        "fe80::1%eth0:7711",
        "a..b:7711",
        "x" * 64 + ":7711",
        "x." * 128 + "y:7711",
        "[node1:7711:7711",
    ],
)
def test_what_cannot_be_announced(typed: str) -> None:
    """What no client could connect to, or what would be more than a word in HELLO, is refused."""
    read = PARAMETERS["announce"].read
    assert read is not None
    with pytest.raises(ValueError, match="a host and a port, as in"):
        read(typed)
