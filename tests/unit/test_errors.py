"""Errors by their word."""

from __future__ import annotations

import pickle

import pytest
import redis.exceptions

from pydisque import errors
from pydisque.errors import BY_WORD, ConnectionLostError, DisqueError, error_from_reply


@pytest.mark.parametrize("word", sorted(BY_WORD))
def test_each_word_has_its_class(word):
    """An error reply becomes the class of its first word, which redis-py's users can catch."""
    error = error_from_reply(f"{word} some text")
    assert type(error) is BY_WORD[word]
    assert isinstance(error, redis.exceptions.ResponseError)
    assert str(error) == f"{word} some text"
    assert error.reply == f"{word} some text"


def test_err_is_dropped_from_the_text():
    """ERR says nothing, and redis-py never showed it."""
    error = error_from_reply("ERR syntax error")
    assert type(error) is DisqueError
    assert str(error) == "syntax error"
    assert error.reply == "ERR syntax error"


def test_errors_show_their_text():
    """In a list of results, such as that of add_jobs, an error says what it is."""
    assert repr(error_from_reply("PAUSED later")) == "PausedError('PAUSED later')"


@pytest.mark.parametrize("reply", ["", "NEWS of tomorrow", "LEAVINGS", "ERR", "\ufffd"])
def test_unknown_words(reply):
    """A reply with an unknown word is an error all the same."""
    assert isinstance(error_from_reply(reply), DisqueError)


def test_lost_connections_are_connection_errors():
    """What the client raises by itself is a ConnectionError of redis-py."""
    assert issubclass(errors.UnreachableError, redis.exceptions.ConnectionError)
    assert isinstance(ConnectionLostError("x", sent=True), redis.exceptions.ConnectionError)


def test_errors_can_be_pickled():
    """Errors go through pickle, as when raised in another process."""
    error = pickle.loads(pickle.dumps(error_from_reply("PAUSED later")))
    assert str(error) == "PAUSED later"
    lost = pickle.loads(pickle.dumps(ConnectionLostError("x", sent=True)))
    assert lost.sent
