"""The journal of a move: what it knows after it was cut off anywhere."""

from __future__ import annotations

import pytest

from pydisque.migration.journal import HEAD, Journal, JournalError


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "moving.journal")


def test_what_is_on_its_way(path):
    """What was touched, and what was added, is known after the end of the process."""
    with Journal(path) as journal:
        journal.taking([b"a", b"b", b"c"])
        journal.add([b"b"])
        journal.done([b"c"])
    with Journal(path) as again:
        assert (again.touched, again.added) == ({b"a"}, {b"b"})


def test_it_stays_short(path, tmp_path):
    """Once nothing is on its way the file is empty but for its head."""
    with Journal(path) as journal:
        for _ in range(3):
            journal.taking([b"a", b"b"])
            journal.add([b"a", b"b"])
            journal.done([b"a", b"b"])
            assert (tmp_path / "moving.journal").read_bytes() == HEAD
        journal.taking([b"c"])
    with Journal(path) as again:
        assert again.touched == {b"c"}


@pytest.mark.parametrize("cut", [HEAD[:5], HEAD + b"taking a b\nadded a\nado", HEAD + b"tak"])
def test_a_last_line_that_was_cut_off(path, tmp_path, cut):
    """What was not written whole was not acted upon, and what follows stands on its own."""
    (tmp_path / "moving.journal").write_bytes(cut)
    with Journal(path) as journal:
        before = journal.touched | journal.added
        journal.taking([b"x"])
    with Journal(path) as again:
        assert again.touched | again.added == before | {b"x"} <= {b"a", b"b", b"x"}


def test_what_is_no_journal(path, tmp_path):
    """Another file is left as it is."""
    (tmp_path / "moving.journal").write_bytes(b"my diary\n")
    with pytest.raises(JournalError, match="is no journal"):
        Journal(path)
    assert (tmp_path / "moving.journal").read_bytes() == b"my diary\n"


def test_one_at_a_time(path):
    """A journal that is in use is refused."""
    with Journal(path), pytest.raises(JournalError, match="in use"):
        Journal(path)
    with Journal(path) as again:
        assert again.touched == set()


def test_a_disk_that_fails(path, monkeypatch):
    """What cannot be written down is told before it is acted upon."""

    def fail(_):
        raise OSError(28, "No space left on device")

    with Journal(path) as journal:
        monkeypatch.setattr("os.fsync", fail)
        with pytest.raises(JournalError, match="cannot write the journal"):
            journal.taking([b"a"])


def test_no_such_folder(path):
    """A file that cannot be made is told."""
    with pytest.raises(JournalError, match="cannot open the journal"):
        Journal(f"{path}/there")


def test_without_a_file():
    """Without a file it is known as long as the process lasts."""
    with Journal() as journal:
        journal.taking([b"a"])
        assert journal.touched == {b"a"}
        journal.done([b"a"])
        assert journal.touched == set()
