"""The dashboard's pages and forms, without a browser, on nodes of every kind."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from unittest import mock

import pytest
from starlette.testclient import TestClient

from pydisque import Client, dead_letters
from pydisque.dashboard import actions, jobs, middleware, pages
from pydisque.dashboard.app import application
from pydisque.dashboard.auth import Door
from pydisque.dashboard.settings import Settings
from pydisque.dashboard.urls import to_path
from pydisque.dead_letters import DeadLetter
from pydisque.node import Server
from pydisque.protocol.envelope import wrap
from pydisque.protocol.replies import JobInfo
from support.prometheus import values
from support.servers import SCATTERED, Deployment, NodeProcess, free_port, unique, until

kinds = pytest.mark.parametrize(
    "server", ["memory", "valkey-3", "disque", "disque-3"], indirect=True
)
in_memory = pytest.mark.parametrize("server", ["memory"], indirect=True)

HERE = "http://127.0.0.1:7799"
OURS = {"Origin": HERE}


@contextmanager
def browsing(addresses: list[str], **settings) -> Iterator[TestClient]:
    """A browser of sorts at a dashboard of these nodes."""
    app = application(Settings(tuple(addresses), **settings))
    with TestClient(app, base_url=HERE, headers={"Accept": "text/html"}) as browser:
        yield browser


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses[-1:]) as client:
        yield client


@pytest.fixture
def browser(server: Deployment) -> Iterator[TestClient]:
    with browsing(server.addresses[:1], actions=True) as browser:
        yield browser


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def send(browser: TestClient, path: str, **fields):
    """A form as a page of ours would send it, and the page that follows."""
    browser.get("/nodes")
    return browser.post(path, data={"form_token": token_for(browser), **fields}, headers=OURS)


def token_for(browser: TestClient) -> str:
    return browser.app._sessions.form_token(browser.cookies["pydisque_7799"])


# Pages


@kinds
def test_every_page(client, browser):
    """Each page shows what there is, wherever in the system it is."""
    queue = unique("q").encode()
    ids = client.add_jobs(queue, ['{"to": "ada"}', "plain"], retry=600)
    client.add_job(queue, "later", delay=1000)
    path = to_path(queue)
    assert "Jobs a second" in browser.get("/").text
    assert until(lambda: path in browser.get(f"/queues?q={path}").text)
    shown = browser.get(f"/queue/{path}").text
    assert all(job_id.decode() in text_of(shown) for job_id in ids)
    assert "plain" in shown
    delayed = browser.get(f"/queue/{path}?jobs=active").text
    assert "delayed" in text_of(delayed)
    job = browser.get(f"/job/{to_path(ids[0])}").text
    assert '"to": "ada"' in text_of(job)
    assert "after 10m" in text_of(job)
    assert "additional deliveries" in job
    assert "7b 22 74 6f" in browser.get(f"/job/{to_path(ids[0])}?as=hex").text
    assert "well" in browser.get("/nodes").text
    found = browser.get("/search", params={"q": ids[1].decode()})
    assert "plain" in text_of(found.text)


@kinds
def test_jobs_that_workers_have(client, browser):
    """Those a worker has taken are listed as active, and the queue's figures count them."""
    queue = unique("taken").encode()
    client.add_jobs(queue, ["x"] * 3, retry=600)
    taken = client.get_jobs([queue], count=2, timeout=5000)
    page = browser.get(f"/queue/{to_path(queue)}?jobs=active").text
    assert all(job.id.decode() in page for job in taken)
    assert page.count('class="tag active"') == len(taken)


NASTY = [
    b"<script>alert(1)</script>", b"a/../b", b"..", b"%2e%2f?x#y", b"\xff\xfe\x00", b"'\"&", b"",
    "ночь\u202e".encode(), b"{{ 7 * 7 }}", b"a\r\nSet-Cookie: x=y",
]  # fmt: skip


@in_memory
@pytest.mark.parametrize("name", NASTY)
def test_names_are_only_names(client, browser, name):
    """Whatever a queue is called, or a job says, is text on pages, and its address leads to it."""
    job_id = client.add_job(name, b"<img src=x onerror=alert(1)>")
    path = to_path(name)
    for page in ("/", "/queues", f"/queue/{path}", f"/job/{to_path(job_id)}"):
        answer = until(lambda page=page: browser.get(page))
        assert answer.status_code == HTTPStatus.OK
        assert "set-cookie" not in {n for n in answer.headers if answer.headers[n] == "x=y"}
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert " 49 " not in text_of(answer.text).split("Body")[0] or b"7 * 7" not in name
    assert job_id.decode() in browser.get(f"/queue/{path}").text
    send(browser, f"/queue/{path}/pause", state="in")
    assert client.qstat(name).pause == b"in"
    client.pause(name, kw_none=True)
    client.del_job(job_id)


@in_memory
def test_lists_are_paged(client, browser):
    """No page has more than so many queues, and all of them come on some page, in order."""
    client.execute_command("DEBUG", "FLUSHALL")  # so that one look sees all there is
    prefix = unique("many")
    for n in range(120):
        client.add_job(f"{prefix}-{n:03}", "x")

    def listed(at: int) -> list[str]:
        page = browser.get(f"/queues?q={prefix}&sort=name&page={at}").text
        return re.findall(rf'data-key="({prefix}-\d+)"', page)

    until(lambda: len(listed(3)) == 120 - 2 * pages.PAGE)  # a look may have begun before them
    found = [listed(1), listed(2), listed(3)]
    assert max(map(len, found)) <= pages.PAGE
    assert [*found[0], *found[1], *found[2]] == [f"{prefix}-{n:03}" for n in range(120)]
    assert "page 3 of 3" in browser.get(f"/queues?q={prefix}&page=99").text


@in_memory
@pytest.mark.parametrize(
    "query", ["page=-1", "page=x", "sort=x", "page=99999999999999999999", "q=%ff"]
)
def test_queries_that_make_no_sense(browser, query):
    """They are taken for what comes nearest."""
    assert browser.get(f"/queues?{query}").status_code == HTTPStatus.OK


@kinds
def test_all_jobs_come_in_pages(server, client, browser):
    """Following what a page says leads through all the jobs of a state, each at least once."""
    queue = unique("pages").encode()
    client.add_jobs(queue, ["x"] * 170, delay=1000)
    client.add_jobs(unique("others"), ["x"] * 300)
    found: set[str] = set()
    path = f"/queue/{to_path(queue)}?jobs=active"
    for _ in range(20):
        page = browser.get(path).text
        some = set(re.findall(r">(D-[^<]{38})<", page))
        assert len(some) <= 3 * jobs.PAGE or server.kind in SCATTERED  # it has many shards
        found |= some
        following = re.search(r'href="\?(jobs=active&amp;from=[^"#]+)', page)
        if not following:
            break
        path = f"/queue/{to_path(queue)}?{html.unescape(following[1])}"
    assert len(found) == 170


@in_memory
def test_bodies_of_all_kinds(client, browser):
    """A body is shown as what it is: JSON laid out, text, or bytes; all of it can be saved."""
    queue = unique("bodies")
    for body, seen, form in (
        (b'{"a": [1, 2]}', '"a": [\n', "json"),
        ("grüße\n\x1b[2J".encode(), "grüße\n\\x1b[2J", "text"),
        (b"\x00\x01\xff" * 9, "00000000  00 01 ff", "hex"),
        (b"x" * 100_000, "The first 64.0 KiB", "text"),
    ):
        path = f"/job/{to_path(client.add_job(queue, body))}"
        page = browser.get(path).text
        assert seen in html.unescape(page)
        assert f'href="?as={form}#body" aria-current="true"' in page
        assert all(browser.get(f"{path}?as={each}").is_success for each in ("json", "text", "hex"))
        saved = browser.get(f"{path}/body")
        assert saved.content == body
        assert saved.headers["content-type"] == "application/octet-stream"
        assert saved.headers["content-disposition"].startswith("attachment")


@in_memory
def test_bodies_can_be_hidden(server, client):
    """Then no page has anything out of one, headers, errors and tracebacks neither, which quote
    them, and none can be saved."""
    queue = unique("secret")
    letter = DeadLetter(
        "q",
        "SECRET",
        1,
        0,
        "ValueError: SECRET",
        "Traceback: SECRET",
        "SECRET",
        b"SECRET",
        {"h": "SECRET"},
    )
    ids = [client.add_job(queue, "SECRET"), client.add_job(f"{queue}:dead", letter.to_body())]
    with browsing(server.addresses, bodies=False) as browser:
        paths = [f"/job/{to_path(job_id)}" for job_id in ids]
        for path in (
            f"/queue/{queue}",
            f"/queue/{queue}:dead",
            f"/dead/{queue}:dead",
            *paths,
            f"{paths[0]}?as=text",
            f"{paths[1]}?as=json",
            "/",
            "/metrics",
            f"/search?q={queue}",
        ):
            answer = browser.get(path)
            assert answer.is_success, path
            assert "SECRET" not in answer.text
        assert browser.get(f"{paths[0]}/body").status_code == HTTPStatus.NOT_FOUND


@in_memory
def test_heavy_bodies_are_not_fetched_by_the_page(client, browser, monkeypatch):
    """A list of jobs reads so many bytes of bodies and no more; the rest is listed by IDs."""
    monkeypatch.setattr(jobs, "HEAVY", 300_000)
    queue = unique("heavy")
    ids = client.add_jobs(queue, [b"x" * 20_000] * 40)
    page = browser.get(f"/queue/{queue}").text
    assert 5 <= page.count('class="body"') < 40
    client.get_jobs([queue], count=40)
    page = browser.get(f"/queue/{queue}?jobs=active").text
    assert 5 <= page.count('class="body"') < 40
    assert "Too much to read at once" in page
    assert all(job_id.decode() in page for job_id in ids)


@in_memory
def test_what_is_not_there(browser):
    """A queue or job nobody has is told in a line, as is an address of nothing."""
    for path, words in (
        ("/queue/nobody-has-it", "No node has a queue of this name now"),
        ("/queue/~zz", "No queue has such a name"),
        (f"/job/{to_path(b'D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1')}", "No node knows the job"),
        ("/job/x", "is no job ID"),
    ):
        answer = browser.get(path)
        assert answer.status_code == HTTPStatus.NOT_FOUND
        assert words in text_of(answer.text)
    assert browser.get("/nothing").status_code == HTTPStatus.NOT_FOUND


# Nodes that come and go


def test_a_node_that_is_gone():
    """Pages say so in a line, keep what was known, and are as they were once it is back."""
    with NodeProcess() as node, browsing([node.address]) as browser:
        node.ask("ADDJOB", "here", "x", 0)
        until(lambda: "here" in browser.get("/queues").text)
        node.kill()
        page = until(
            lambda: (p := browser.get("/queues").text) and "No node could be asked" in p and p
        )
        assert "here" in page
        assert "No node could be asked" in browser.get("/queue/here").text
        job = browser.get(f"/job/{to_path(b'D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1')}")
        assert job.status_code == HTTPStatus.BAD_GATEWAY
        node.start()
        until(lambda: "No node could be asked" not in browser.get("/queues").text)


def test_no_node_at_all():
    """The dashboard starts without one, and says what is the matter."""
    with browsing([f"127.0.0.1:{free_port()}"]) as browser:
        answer = browser.get("/")
        assert answer.status_code == HTTPStatus.OK
        assert "No node could be asked" in answer.text


def test_looking_costs_the_nodes_no_more_for_many():
    """While pages are asked for again and again, by many, the nodes are asked as for one."""
    with Server() as node, browsing([node.address]) as browser, Client(node.address) as client:
        client.add_job("q", "x")
        until(lambda: "q" in browser.get("/queues").text)
        browser.get("/queue/q")

        def commands() -> int:
            return client.info()["total_commands_processed"]

        before = commands()
        for _ in range(40):
            for path in ("/", "/queues", "/queue/q", "/nodes", "/dead"):
                assert browser.get(path, headers={"X-Live": "1"}).is_success
        assert commands() - before < 100


# What is done


@kinds
def test_pausing(client, browser):
    """A queue is paused and resumed on all nodes, and the page says what came of it."""
    queue = unique("pause").encode()
    client.add_job(queue, "x")
    for state, words in (("all", "neither taken nor handed out"), ("in", "new jobs are refused"),
                         ("out", "no jobs are handed out"), ("none", "not paused")):  # fmt: skip
        page = send(browser, f"/queue/{to_path(queue)}/pause", state=state)
        assert words in page.text
        assert client.qstat(queue).pause == state.encode()
        assert words not in browser.get(f"/queue/{to_path(queue)}").text


@kinds
def test_answers_to_a_job(client, browser):
    """A job is taken out of its queue, queued, given back and deleted."""
    queue = unique("job").encode()
    job_id = client.add_job(queue, "x", retry=600)
    path = f"/job/{to_path(job_id)}"
    assert "taken out" in send(browser, f"{path}/dequeue").text
    until(lambda: client.qlen(queue) == 0)
    assert "not queued" in send(browser, f"{path}/dequeue").text
    assert "The job is queued" in send(browser, f"{path}/enqueue").text
    assert "queued already" in send(browser, f"{path}/enqueue").text
    assert client.get_jobs([queue], timeout=5000)[0].id == job_id
    assert "given back" in send(browser, f"{path}/nack").text
    page = send(browser, f"{path}/delete", next=f"/queue/{to_path(queue)}")
    assert "The job is deleted" in page.text
    assert browser.get(path).status_code == HTTPStatus.NOT_FOUND
    assert "No node knows it" in text_of(send(browser, f"{path}/delete", next="/").text)


@kinds
def test_purging(client, browser):
    """All that is queued is deleted once the queue's name is typed, and not before."""
    queue = unique("purge").encode()
    client.add_jobs(queue, ["x"] * 30)
    client.add_job(queue, "later", delay=1000)
    path = f"/queue/{to_path(queue)}/purge"
    for typed in ("", "purge", queue.decode() + " "):
        assert "Nothing was deleted" in send(browser, path, typed=typed).text
    assert client.qlen(queue) > 0
    assert "30 jobs" in send(browser, path, typed=queue.decode()).text
    until(lambda: client.qlen(queue) == 0)
    assert "delayed" in text_of(browser.get(f"/queue/{to_path(queue)}?jobs=active").text)


@in_memory
def test_purging_more_than_there_is_time_for(client, browser, monkeypatch):
    """It says what is left, and goes on when asked again."""
    monkeypatch.setattr(actions, "ENOUGH", -1.0)
    monkeypatch.setattr(actions, "BATCH", 10)
    queue = unique("long")
    client.add_jobs(queue, ["x"] * 25)
    told = text_of(send(browser, f"/queue/{queue}/purge", typed=queue).text)
    left = client.qlen(queue)
    assert 0 < left < 25
    assert f"{left} jobs queued now, do it again" in told


@in_memory
@pytest.mark.parametrize(("action", "done"), [("replay", "put back"), ("discard", "deleted")])
def test_more_letters_than_there_is_time_for(client, browser, monkeypatch, action, done):
    """It says what is left, and goes on when asked again."""
    monkeypatch.setattr(actions, "ENOUGH", -1.0)
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    queue = unique("slow")
    letters(client, queue, 5)
    fields = {"which": "all", "typed": f"{queue}:dead"}
    told = text_of(send(browser, f"/dead/{queue}:dead/{action}", **fields).text)
    left = client.qlen(f"{queue}:dead")
    assert 0 < left < 5
    assert re.search(
        rf"{5 - left} \w+( letters?)? {done}; {left} jobs? queued now, do it again", told
    )


@in_memory
def test_a_queue_without_a_name(client, browser):
    """It is purged no more easily than others: what it is called has to be typed."""
    client.execute_command("DEBUG", "FLUSHALL")
    client.add_job("", "x")
    path = f"/queue/{to_path(b'')}"
    assert "(no name)" in browser.get(path).text
    assert "Nothing was deleted" in send(browser, f"{path}/purge").text
    assert "1 job" in send(browser, f"{path}/purge", typed="(no name)").text
    assert client.qlen("") == 0


DEEP = b"\x00pydisque1 " + b"[" * 100_000 + b"\nx"
HALF_A_LETTER = wrap(
    b"x",
    {"pydisque-dead": {"queue": "\ud800", "id": "D", "nacks": 1, "additional_deliveries": 0,
     "error": "", "traceback": "", "at": "2026"}},
)  # fmt: skip


@in_memory
@pytest.mark.parametrize("body", [DEEP, HALF_A_LETTER], ids=["deep", "half a letter"])
def test_jobs_made_to_be_in_the_way(client, browser, body):
    """Whatever somebody puts into a body, its pages are shown, and letters beside it put back."""
    queue = unique("poison")
    letters(client, queue, 1)
    job_id = client.add_job(f"{queue}:dead", body)
    for page in (f"/queue/{queue}:dead", f"/dead/{queue}:dead", f"/job/{to_path(job_id)}"):
        assert browser.get(page).status_code == HTTPStatus.OK, page
    assert "1 job put back" in send(browser, f"/dead/{queue}:dead/replay", which="all").text
    assert client.qlen(queue) == 1


@in_memory
def test_a_body_that_is_longer_laid_out(client, browser):
    """A body of JSON that is nested deeply makes no page of megabytes."""
    body = "[" + ",".join(["[" * 900 + "]" * 900] * 36) + "]"
    job_id = client.add_job(unique("deep"), body)
    assert len(browser.get(f"/job/{to_path(job_id)}").text) < 200_000


def deep_header(size: int) -> bytes:
    """A body with a header of so many bytes, all of which are far down."""
    depth = 90
    inner = ",".join(["0"] * (size // 2))
    return b'\x00pydisque1 {"h":' + b"[" * depth + inner.encode() + b"]" * depth + b"}\nbody"


@in_memory
@pytest.mark.parametrize("depth", [90, 900])
@pytest.mark.parametrize("bodies", [True, False])
def test_headers_that_are_longer_laid_out(server, client, bodies, depth):
    """Headers that are nested deeply make no page of megabytes, shown or hidden."""
    queue = unique("deep")
    body = deep_header(400_000).replace(b"[" * 90, b"[" * depth).replace(b"]" * 90, b"]" * depth)
    job_id = client.add_job(queue, body)
    with browsing(server.addresses, bodies=bodies) as browser:
        for path in (f"/job/{to_path(job_id)}", f"/queue/{queue}", f"/dead/{queue}"):
            answer = browser.get(path)
            assert answer.status_code == HTTPStatus.OK
            assert len(answer.text) < 500_000, path


@in_memory
def test_letters_that_are_long(client, browser):
    """Of an error, a traceback and a name that are long the beginning is shown."""
    queue = unique("long")
    long = [letter * 100_000 for letter in ("q", "D", "e", "t\t", "2")]
    letter = DeadLetter(long[0], long[1], 1, 0, *long[2:])
    job_id = client.add_job(f"{queue}:dead", letter.to_body())
    pages = [browser.get(path).text for path in (f"/dead/{queue}:dead", f"/job/{to_path(job_id)}")]
    assert all("eeee" in page and "qqqq" in page for page in pages)
    assert len(pages[0]) < 20_000
    assert len(pages[1]) < 1_000_000


def test_a_name_that_is_long():
    """A queue whose name fits into no address has no page, and its name is cut in lists."""
    with Server() as node, Client(node.address) as client, browsing([node.address]) as browser:
        names = [b"\x01" * 200_000, b"\x01" * 200_000 + b":dead"]
        job_ids = [client.add_job(name, "x") for name in names]
        until(lambda: "dead letters" in browser.get("/").text.lower())
        for path in ("/", "/queues", "/dead", *(f"/job/{to_path(job_id)}" for job_id in job_ids)):
            page = until(lambda path=path: (p := browser.get(path).text) and "x01" in p and p)
            assert len(page) < 50_000, path
            assert 'href="/queue/~' not in page


@in_memory
def test_a_page_has_an_end(client, browser, monkeypatch):
    """Should a page be long all the same, it is given up, and that is told."""
    monkeypatch.setattr(pages, "LARGEST_PAGE", 20_000)
    job_id = client.add_job(unique("q"), "x" * 50_000)
    answer = browser.get(f"/job/{to_path(job_id)}")
    assert answer.status_code == HTTPStatus.INSUFFICIENT_STORAGE
    assert "It would be longer than 19.5 KiB" in answer.text
    assert browser.get("/nodes").status_code == HTTPStatus.OK


@in_memory
def test_heavy_letters(client, browser, monkeypatch):
    """A page of dead letters reads so many bytes and no more; the rest is listed by IDs."""
    monkeypatch.setattr(jobs, "HEAVY", 300_000)
    queue = unique("heavy")
    letter = DeadLetter(queue, "D-1", 1, 0, "no", "", "2026-01-01T00:00:00", b"x" * 20_000)
    ids = client.add_jobs(f"{queue}:dead", [letter.to_body()] * 15)
    page = until(lambda: "The oldest" in (p := browser.get(f"/dead/{queue}:dead").text) and p)
    assert len(page) < 200_000
    assert all(job_id.decode() in page for job_id in ids[:10])


@in_memory
def test_a_place_that_is_none(client, browser):
    """A cursor no node can have given is the beginning."""
    queue = unique("place")
    client.add_job(queue, "x")
    client.get_job([queue])
    page = browser.get(f"/queue/{queue}?jobs=active&from=0-99999999999999999999")
    assert page.status_code == HTTPStatus.OK


def test_a_queue_nobody_could_be_asked_for():
    """While no node answers it is not said that there is no such queue."""
    with browsing([f"127.0.0.1:{free_port()}"]) as browser:
        answer = browser.get("/queue/mail")
        assert answer.status_code == HTTPStatus.BAD_GATEWAY
        assert "No answer" in answer.text


def test_a_job_known_by_its_acknowledgement_alone():
    """Of a job that a node was told is done, and never had, there is a page as well."""
    job_id = b"D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1"
    info = JobInfo(
        [b"id", job_id, b"queue", None, b"state", b"acked", b"repl", 0, b"ttl", 0, b"ctime", 0,
         b"delay", 0, b"retry", 0, b"nacks", 0, b"additional-deliveries", 0, b"nodes-delivered",
         [], b"nodes-confirmed", [], b"next-requeue-within", None, b"next-awake-within", 1,
         b"body", None]
    )  # fmt: skip
    known = mock.patch.object(Client, "show", return_value=info)
    with known, Server() as node, browsing([node.address]) as browser:
        assert browser.get(f"/job/{to_path(job_id)}").status_code == HTTPStatus.OK
        assert browser.get(f"/job/{to_path(job_id)}/body").content == b""


def letters(client: Client, queue: str, count: int) -> list[str]:
    """Dead letters of a queue, by their IDs."""
    for n in range(count):
        letter = DeadLetter(
            queue,
            f"D-{n}",
            n,
            0,
            f"Oops: <{n}>",
            "Traceback: here",
            f"2026-01-01T00:00:0{n}+00:00",
            b"body %d" % n,
        )
        client.add_job(f"{queue}:dead", letter.to_body())
    found = {job.body: job.id.decode() for job in client.qpeek(f"{queue}:dead", 100)}
    return [found[body] for body in sorted(found)]


@kinds
def test_dead_letters(client, browser):
    """They are listed with their stories; those chosen, then all, are put back."""
    queue = unique("died")
    ids = letters(client, queue, 4)
    until(lambda: f"{queue}:dead" in browser.get("/dead").text)
    page = text_of(browser.get(f"/dead/{queue}:dead").text)
    assert all(job_id in page for job_id in ids)
    assert "Oops: <3>" in page
    story = text_of(browser.get(f"/job/{to_path(ids[0].encode())}").text)
    assert "Traceback: here" in story
    assert "body" in story
    path = f"/dead/{queue}:dead/replay"
    assert "no letter was chosen" in send(browser, path).text
    assert "2 jobs put back" in send(browser, path, id=ids[:2]).text
    until(lambda: client.qlen(f"{queue}:dead") == 2)
    assert "2 jobs put back" in send(browser, path, which="all").text
    back: set[bytes] = set()  # wherever in the cluster they are

    def all_back() -> bool:
        back.update(job.body for job in client.get_jobs([queue], count=4, timeout=500))
        return len(back) == 4

    until(all_back)
    assert back == {b"body %d" % n for n in range(4)}


@kinds
def test_deleting_dead_letters(client, browser):
    """Those chosen go at once, all of them once the queue's name is typed; other jobs stay."""
    queue = unique("gone")
    ids = letters(client, queue, 3)
    other = client.add_job(f"{queue}:dead", "no letter").decode()
    path = f"/dead/{queue}:dead/discard"
    assert "no dead letter" in browser.get(f"/dead/{queue}:dead").text
    assert "no letter was chosen" in send(browser, path).text
    assert "1 dead letter deleted" in send(browser, path, id=[ids[0], other]).text
    assert "Nothing was deleted" in send(browser, path, which="all", typed=queue).text
    assert "2 dead letters deleted" in send(browser, path, which="all", typed=f"{queue}:dead").text
    until(lambda: client.qlen(f"{queue}:dead") == 1)
    assert client.show(other) is not None


# Who may do what


ACTIONS = [
    ("/queue/q/pause", {"state": "all"}),
    ("/queue/q/purge", {"typed": "q"}),
    ("/job/{job}/delete", {}),
    ("/job/{job}/enqueue", {}),
    ("/job/{job}/dequeue", {}),
    ("/job/{job}/nack", {}),
    ("/dead/q/replay", {"which": "all"}),
    ("/dead/q/discard", {"which": "all", "typed": "q"}),
]


@pytest.fixture
def untouched() -> Iterator[tuple[Server, str]]:
    """A node with a job that has to be as it was in the end."""
    with Server() as node, Client(node.address) as client:
        job_id = client.add_job("q", "x")
        before = client.show(job_id)
        yield node, to_path(job_id)
        after = client.show(job_id)
        assert (after.state, after.nacks, client.qlen("q")) == (b"queued", before.nacks, 1)
        assert client.qstat("q").pause == b"none"


def test_read_only_is_the_default(untouched):
    """Without --allow-actions no page offers an action, and none can be had."""
    node, job = untouched
    with browsing([node.address]) as browser:
        for page in ("/queue/q", f"/job/{job}", "/dead/q"):
            assert "Actions" not in browser.get(page).text.split("<footer>")[0]
        for path, fields in ACTIONS:
            answer = send(browser, path.format(job=job), **fields)
            assert answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": HERE, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:7800"},
    ],
)
def test_forms_of_others_do_nothing(untouched, headers):
    """What does not come from one of our pages is refused, even with the right token."""
    node, job = untouched
    with browsing([node.address], actions=True) as browser:
        browser.get("/")
        for path, fields in ACTIONS:
            data = {"form_token": token_for(browser), **fields}
            answer = browser.post(path.format(job=job), data=data, headers=headers)
            assert answer.status_code == HTTPStatus.FORBIDDEN


def test_forms_without_this_browsers_token_do_nothing(untouched):
    """A form has to carry what pages of this very browser carry."""
    node, job = untouched
    with browsing([node.address], actions=True) as browser:
        browser.get("/")
        token = token_for(browser)
        for path, fields in ACTIONS:
            url = path.format(job=job)
            for data in (
                fields,
                {"form_token": "", **fields},
                {"form_token": token[::-1], **fields},
            ):
                assert (
                    browser.post(url, data=data, headers=OURS).status_code == HTTPStatus.FORBIDDEN
                )
            browser.cookies.clear()
            data = {"form_token": token, **fields}
            assert browser.post(url, data=data, headers=OURS).status_code == HTTPStatus.FORBIDDEN
            assert browser.get(url).status_code in (
                HTTPStatus.NOT_FOUND,
                HTTPStatus.METHOD_NOT_ALLOWED,
            )


def test_a_form_that_is_too_large(untouched):
    """It is not read to its end."""
    node, _ = untouched
    with browsing([node.address], actions=True) as browser:
        browser.get("/")
        data = {"form_token": token_for(browser), "typed": "q" * 100_000}
        answer = browser.post("/queue/q/purge", data=data, headers=OURS)
        assert answer.status_code == HTTPStatus.FORBIDDEN


PRIVATE = ["/", "/queues", "/queue/q", "/job/x", "/job/x/body", "/dead", "/dead/q", "/nodes",
           "/search?q=x", "/nothing"]  # fmt: skip


@pytest.fixture
def impatient(monkeypatch) -> None:
    """A wrong guess takes no time."""
    monkeypatch.setattr(middleware, "SLOW", 0.0)


@in_memory
@pytest.mark.usefixtures("impatient")
def test_a_token(server):
    """Nothing is seen without it; with it a browser sees all until it logs out."""
    with browsing(server.addresses, door=Door(token="sesame")) as browser:
        for path in PRIVATE:
            answer = browser.get(path, follow_redirects=False)
            assert answer.status_code == HTTPStatus.SEE_OTHER
            assert answer.headers["location"].startswith("/login?next=/")
            assert (
                browser.get(path, headers={"Accept": "*/*"}).status_code == HTTPStatus.UNAUTHORIZED
            )
        login = browser.get("/queues?sort=in")
        assert login.url.path == "/login"
        for wrong in ("", "Sesame", "sesame "):
            assert "not the token" in send_login(browser, wrong).text
        outside = browser.cookies["pydisque_7799"]
        inside = send_login(browser, "sesame", next="/queues?sort=in")
        assert str(inside.url) == f"{HERE}/queues?sort=in"
        assert browser.cookies["pydisque_7799"] != outside
        assert "Log out" in inside.text
        kept = browser.cookies["pydisque_7799"]
        browser.post("/logout", data={"form_token": token_for(browser)}, headers=OURS)
        answer = browser.get(
            "/", headers={"Cookie": f"pydisque_7799={kept}"}, follow_redirects=False
        )
        assert answer.status_code == HTTPStatus.SEE_OTHER
        program = {"Authorization": "Bearer sesame"}
        assert browser.get("/", headers=program).status_code == HTTPStatus.OK


def send_login(browser: TestClient, token: str, **fields):
    browser.get("/login")
    data = {"form_token": token_for(browser), "token": token, **fields}
    return browser.post("/login", data=data, headers=OURS)


@in_memory
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "goal", ["//evil.org", "https://evil.org", "/\\evil.org", "javascript:x", "/\r\nX: y"]
)
def test_logging_in_leads_nowhere_else(server, goal):
    """What comes after logging in is a page of this dashboard."""
    with browsing(server.addresses, door=Door(token="sesame")) as browser:
        browser.get("/login")
        data = {"form_token": token_for(browser), "token": "sesame", "next": goal}
        answer = browser.post("/login", data=data, headers=OURS, follow_redirects=False)
        assert answer.headers["location"] == "/"


@in_memory
@pytest.mark.usefixtures("impatient")
def test_a_name_and_a_password(server):
    """They are asked for by the browser itself, for every page."""
    with browsing(server.addresses, door=Door(user="ada", password="sesame")) as browser:
        for path in PRIVATE:
            answer = browser.get(path)
            assert answer.status_code == HTTPStatus.UNAUTHORIZED
            assert answer.headers["www-authenticate"].startswith("Basic")
        assert browser.get("/", auth=("ada", "sesam")).status_code == HTTPStatus.UNAUTHORIZED
        assert browser.get("/", auth=("ada", "sesame")).status_code == HTTPStatus.OK


@in_memory
def test_other_hosts_are_refused(server):
    """A name that leads to us but was not said is not answered, logged in or not."""
    with browsing(server.addresses, hosts=frozenset({"jobs.example.org"})) as browser:
        for host, status in (
            ("evil.example.org", HTTPStatus.MISDIRECTED_REQUEST),
            ("jobs.example.org", HTTPStatus.OK),
            ("localhost:1", HTTPStatus.OK),
        ):
            assert browser.get("/nodes", headers={"Host": host}).status_code == status


@in_memory
def test_every_answer_is_guarded(browser):
    """Every answer says what browsers may do with it; pages are kept nowhere."""
    for path in ("/", "/nothing", "/queue/nobody", "/search?q=x"):
        headers = browser.get(path, follow_redirects=False).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
    cookie = browser.get("/").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    secure = browser.get("/", headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]
    assert "Secure" in secure
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get("/").text):
        assert "immutable" in browser.get(path).headers["cache-control"]


@in_memory
def test_pages_are_whole_without_scripts(browser):
    """No page has a script, a style or a handler in it, nor anything from elsewhere."""
    for path in ("/", "/queues", "/nodes", "/dead", "/queue/nobody"):
        page = browser.get(path).text
        assert not re.search(r"<style|style=|\son\w+=|<script(?! src=\"/static/)|https?://", page)


@in_memory
def test_the_log_tells_actions_and_no_bodies(server, client, browser, caplog):
    """What was done, to what and from where is logged; bodies and tokens are not."""
    queue = unique("logged")
    job_id = client.add_job(queue, "SECRET")
    with caplog.at_level("DEBUG"):
        browser.get(f"/job/{to_path(job_id)}")
        send(browser, f"/job/{to_path(job_id)}/delete")
    ours = [r.getMessage() for r in caplog.records if r.name == "pydisque.dashboard"]
    assert ours == [f"delete of {job_id.decode()} by testclient: The job is deleted."]
    assert "SECRET" not in caplog.text


# Figures


@kinds
def test_metrics(client, browser):
    """Prometheus gets what the survey saw, of every node and of the queues."""
    queue = unique("q")
    client.add_jobs(queue, ["body"] * 3)

    def told() -> dict[str, float]:
        browser.get("/")  # so that it looks again soon
        answer = browser.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        return values(answer.text)

    assert until(lambda: told().get(f'pydisque_queue_length{{queue="{queue}"}}')) == 3


@in_memory
def test_metrics_are_for_those_who_may_look(server):
    """A scraper shows the token as a Bearer; without it there are no figures."""
    with browsing(server.addresses, door=Door(token="sesame")) as browser:
        refused = browser.get("/metrics", headers={"Accept": "text/plain"})
        assert refused.status_code == HTTPStatus.UNAUTHORIZED
        shown = browser.get("/metrics", headers={"Authorization": "Bearer sesame"})
        assert "pydisque_node_up" in shown.text


@in_memory
def test_metrics_without_their_extra(server, monkeypatch):
    """What has to be installed is told."""
    monkeypatch.setitem(sys.modules, "pydisque.monitoring.metrics", None)
    with browsing(server.addresses) as browser:
        told = browser.get("/metrics")
    assert (told.status_code, "pydisque[metrics]" in told.text) == (501, True)
