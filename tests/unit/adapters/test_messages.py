"""Messages of kombu as jobs."""

from __future__ import annotations

import pytest

from pydisque.adapters.kombu.messages import (
    YEAR,
    Options,
    decode,
    encode,
    growing,
    job_options,
    life_in,
    nodes_of,
    requeues_too_often,
    safe_url,
)

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def message(eta=None, **properties):
    return {"body": "", "headers": {"eta": eta}, "properties": properties}


@pytest.mark.parametrize(
    ("eta", "delay"),
    [
        ("2023-11-14T22:14:20+00:00", 60),
        ("2023-11-14T22:14:20.900000Z", 60),
        ("2023-11-15T00:13:25+02:00", 5),
        ("2023-11-14T22:13:20.500000+00:00", None),
        ("2023-11-14T22:13:00+00:00", None),
        ("2023-11-14T22:14:20", None),  # nobody knows whose time that is
        ("soon", None),
        (None, None),
        (60, None),
    ],
)
def test_a_message_that_is_not_due_is_delayed(eta, delay):
    """By whole seconds, never by more than there are, and lives on as long as any."""
    options = job_options(message(eta), Options(), NOW)
    assert options.get("delay") == delay
    assert options["ttl"] == YEAR + (delay or 0)


def test_a_message_that_expires_has_that_life():
    """In seconds, where AMQP has milliseconds; at least one."""
    assert job_options(message(expiration="90500"), Options(), NOW)["ttl"] == 90
    assert job_options(message(expiration="1"), Options(), NOW)["ttl"] == 1
    assert job_options(message(expiration="x"), Options(ttl=7), NOW)["ttl"] == 7


@pytest.mark.parametrize(
    ("limit", "nacks", "ends"),
    [(20, 18, False), (20, 19, True), (1, 0, True), (3, 50, True), (None, 10**6, False)],
)
def test_a_message_is_requeued_up_to_its_limit(limit, nacks, ends):
    """The delivery that is being ended counts as well."""
    reason = requeues_too_often(nacks, Options(delivery_limit=limit))
    assert (reason is not None) == ends
    assert Options().delivery_limit == 20


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "20"])
def test_a_limit_that_is_none_is_refused(limit):
    """The error names the setting, the value and what is allowed."""
    with pytest.raises(ValueError, match=r"delivery_limit .*: .* expected an int from 1, or None"):
        Options.of({"delivery_limit": limit})


def test_a_queue_may_shorten_the_lives_of_its_messages():
    """As it was declared, in milliseconds; it makes none longer."""
    assert life_in({"x-expires": 10_000}) == 10
    assert life_in({"x-expires": 10_000, "x-message-ttl": 300_000}) == 300
    assert life_in({"x-expires": 1}) == 1
    assert life_in({"x-expires": None, "x-max-priority": 3}) is None
    assert job_options(message(), Options(ttl=90), NOW, 10)["ttl"] == 10
    assert job_options(message(), Options(ttl=90), NOW, 300)["ttl"] == 90
    assert job_options(message(expiration="7000"), Options(), NOW, 10)["ttl"] == 7
    assert job_options(message("2023-11-14T22:14:20Z"), Options(), NOW, 10)["ttl"] == 70


def test_a_task_that_expires_is_its_workers_business():
    """Its job lives on, or the lease of a long task could not be renewed to its end."""
    task = message(expiration="60000") | {"headers": {"expires": "2023-11-14T22:14:20+00:00"}}
    assert job_options(task, Options(), NOW)["ttl"] == YEAR


def test_options_of_other_transports_are_ignored():
    """As Celery's settings may be for several brokers."""
    options = Options.of({"retry": 5, "visibility_timeout": 3600})
    assert options == Options(retry=5)


def test_arguments_of_the_client_win():
    """Those of the transport's own over what kombu says in general."""
    options = Options(client={"deadline": 1}).with_client({"ssl": True}, 4)
    assert options.client == {"deadline": 1, "ssl": True}
    assert Options().with_client({}, None).client == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[1]",
        b'{"body": "", "properties": 3}',
        b'{"body": null, "properties": {}}',
        b'{"body": 5, "properties": {}}',
        b'{"body": "", "properties": {}, "headers": "task"}',
        b'{"body": "", "properties": {}, "content-type": 5}',
        b'{"body": "", "properties": {"delivery_info": [1]}}',
        b"\xff",
    ],
)
def test_what_is_no_message_is_told(body):
    """Somebody else's job in a queue of Celery's."""
    with pytest.raises(ValueError, match=r".+"):
        decode(body)


def test_a_message_comes_back_as_it_was():
    """Text included that is not ASCII."""
    whole = message(priority=3) | {"body": "größer"}
    assert decode(encode(whole)) == whole


def test_pauses_grow_and_end_in_time():
    """They are as long together as they may be, and none is long by itself."""
    assert list(growing(3)) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 0.5])
    assert list(growing(0)) == []


@pytest.mark.parametrize(
    ("nodes", "shown"),
    [
        (["disque://h:1,i:2/"], "disque://h:1,i:2/"),
        (["disque://:secret@h:1"], "disque://:**@h:1/"),
        (["disques://ann:secret@h"], "disques://ann:**@h:7711/"),
        (["h:1", "i:2"], "disque://h:1,i:2/"),
    ],
)
def test_no_password_is_shown(nodes, shown):
    """Celery prints the URL when a worker starts."""
    assert safe_url(nodes, "**") == shown


@pytest.mark.parametrize(
    ("url", "node"),
    [
        ("disque://h:1,i:2/", "disque://h:1,i:2/"),
        ("disque://", "disque://localhost"),
        ("disques:///", "disques://localhost"),
        ("h", "h:5"),
        ("h:1", "h:1"),
    ],
)
def test_a_url_may_say_little(url, node):
    """As those of kombu's other transports may."""
    assert nodes_of([url], 5) == [node]
