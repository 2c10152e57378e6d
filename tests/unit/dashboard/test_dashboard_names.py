"""Names in addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.dashboard.urls import from_path, to_path


@given(st.binary())
def test_a_name_comes_back_byte_for_byte(name):
    """Whatever a queue is called, its address means it and nothing else."""
    assert from_path(to_path(name)) == name


@given(st.binary())
def test_nobody_on_the_way_sees_anything_in_it(name):
    """An address is one part of a path and needs no quoting: no slash, no dots alone."""
    part = to_path(name)
    assert part
    assert not part.startswith(".")
    assert set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:@,.-~")


def test_most_names_can_be_read():
    """What people call queues is what they see in the address."""
    assert to_path(b"reports.daily:dead") == "reports.daily:dead"


@pytest.mark.parametrize("part", ["", "a/b", "%41", "~4", "~4G", "~FF", "é", "a~", "a b", "a\n"])
def test_what_is_no_name(part):
    """What `to_path` cannot have written is refused."""
    with pytest.raises(ValueError, match="is no name"):
        from_path(part)
