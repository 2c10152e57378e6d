"""Users: who may log in, what is wrong with a file of them, and that nothing shows a password."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

import pytest

from pydisque.node.config import users
from pydisque.node.config.users import Refusals, User, Users, digest, load, read_password


def test_who_is_found() -> None:
    """A name and a password find their user; `default` may do everything."""
    some = Users(b"secret", [User(b"ci", digest(b"pw")), User(b"root", digest(b"r"), admin=True)])
    assert some.wanted
    found = [some.find(b"default", b"secret"), some.find(b"ci", b"pw"), some.find(b"root", b"r")]
    assert [(user.name, user.admin) for user in found if user] == [
        (b"default", True), (b"ci", False), (b"root", True)
    ]  # fmt: skip
    for name, password in ((b"default", b"pw"), (b"ci", b"secret"), (b"", b""), (b"x", b"pw")):
        assert some.find(name, password) is None


def test_without_a_password_there_is_no_default() -> None:
    """With further users alone `default` cannot log in, with nobody no login is wanted."""
    assert not Users().wanted
    assert Users(b"", [User(b"ci", digest(b"pw"))]).find(b"default", b"") is None


def test_the_work_does_not_tell_who_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong, one digest is made and one comparison of two digests."""
    work: list[object] = []
    compare, sha256 = hmac.compare_digest, hashlib.sha256
    monkeypatch.setattr(
        users.hmac, "compare_digest", lambda a, b: work.append((len(a), len(b))) or compare(a, b)
    )
    monkeypatch.setattr(users.hashlib, "sha256", lambda data: work.append("sha") or sha256(data))
    some = Users(b"", [User(b"ci", bytes(32))])
    for name in (b"ci", b"default", b"nobody", b""):
        work.clear()
        assert some.find(name, b"guess") is None
        assert work == ["sha", (32, 32)]


def test_nothing_shows_a_password() -> None:
    """A user can be printed."""
    assert repr(User(b"ci", digest(b"pw"))) == "User(name=b'ci', admin=False)"


def test_a_file_of_users(tmp_path: Path) -> None:
    """Each user has a password in one of three ways; paths start from the file's folder."""
    (tmp_path / "pw").write_bytes(b"three\r\n")
    file = tmp_path / "users.toml"
    file.write_text(
        f'[a]\npassword = "one"\nadmin = true\n[b]\npassword-sha256 = "{digest(b"two").hex()}"\n'
        '[c]\npassword-file = "pw"\nadmin = false\n'
    )
    assert load(file) == [
        User(b"a", digest(b"one"), admin=True), User(b"b", digest(b"two")),
        User(b"c", digest(b"three")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no user"),
        ("[a", "is no TOML"),
        ('ci = "hunter2"', "every user needs a table of its own, as in [ci]"),
        ("[ci]", "user 'ci' needs one of password, password-sha256, password-file, and only one"),
        ('[ci]\npassword = "hunter2"\npassword-file = "x"', "and only one"),
        ("[ci]\npassword = 42", "user 'ci': the password must be text, and not empty"),
        ('[ci]\npassword = ""', "user 'ci': the password must be text, and not empty"),
        ('[ci]\npassword-sha256 = "hunter2"', "password-sha256 must be 64 hexadecimal digits"),
        ('[ci]\npassword-file = "nothing"', "nothing cannot be read: No such file or directory"),
        ('[ci]\npasword = "hunter2"', "user 'ci' has an unknown key 'pasword'"),
        ('[ci]\npassword = "hunter2"\nadmin = "yes"', "user 'ci': admin must be true or false"),
        ('[default]\npassword = "hunter2"', "the user 'default' has its password by requirepass"),
        ('["a b"]\npassword = "hunter2"', "'a b' is no name for a user"),
    ],
)
def test_what_is_wrong_in_a_file_of_users(tmp_path: Path, text: str, told: str) -> None:
    """The error names the file and the user, never the password."""
    file = tmp_path / "users.toml"
    file.write_text(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - told is the text of it
        load(file)
    assert str(caught.value).startswith(str(file))
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_password_in_a_file(tmp_path: Path) -> None:
    """One line end is not part of it; an empty file is an error."""
    file = tmp_path / "pw"
    for content, password in ((b"a b\n", b"a b"), (b"a\r\n", b"a"), (b"a\n\n", b"a\n")):
        file.write_bytes(content)
        assert read_password(file) == password
    file.write_bytes(b"\n")
    with pytest.raises(ValueError, match="is empty; it must hold a password"):
        read_password(file)


def test_refusals_are_told_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """The log says where wrong passwords come from, and how many it did not tell of."""
    refusals = Refusals()
    with caplog.at_level(logging.WARNING, "pydisque.node"):
        for now, name in ((0, b"ci"), (10, b"ci"), (999, None), (1000, None), (1001, b"ci")):
            refusals.note(now, b"10.0.0.1:5", name)
    assert caplog.messages == [
        "wrong password from 10.0.0.1:5 for user 'ci'",
        "wrong password from 10.0.0.1:5 for an unknown user, and 2 more before",
    ]
