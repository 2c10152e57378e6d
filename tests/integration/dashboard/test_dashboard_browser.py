"""The dashboard in Chromium: every page and action, on a desk and on a phone, by keys alone too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from pydisque import Client
from pydisque.dashboard.urls import to_path
from pydisque.dead_letters import DeadLetter
from pydisque.node import Server
from support import browsers
from support.dashboards import Dashboard
from support.servers import NodeProcess, until

pytestmark = [
    pytest.mark.skipif(browsers.lacks() is not None, reason=str(browsers.lacks())),
    # Playwright runs a loop of its own in this thread.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

expect.set_options(timeout=15_000)

SIZES = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}

NASTY = b"<img src=x onerror=alert(1)>/'\"\xff"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browsers.CHROMIUM, args=browsers.FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    with Server() as node:
        yield node


@pytest.fixture(scope="module")
def board(node: Server) -> Iterator[Dashboard]:
    with Dashboard([node.address], "--allow-actions") as board:
        yield board


@pytest.fixture
def client(node: Server) -> Iterator[Client]:
    with Client(node.address) as client:
        yield client
        client.execute_command("DEBUG", "FLUSHALL")


Open = Callable[..., Page]


@pytest.fixture
def look(browser: Browser, board: Dashboard) -> Iterator[Open]:
    """Open a page; whatever the browser complains of meanwhile fails the test."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def look(path: str, size: str = "desk", **settings) -> Page:
        context = browser.new_context(viewport=SIZES[size], base_url=board.url, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else 0)
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request",
            lambda request: request.url.startswith(board.url) or complaints.append(request.url),
        )
        page.goto(path)
        return page

    yield look
    for context in contexts:
        context.close()
    assert not complaints


def filled(client: Client) -> dict[str, str]:
    """Some of everything, and the addresses of the pages about it."""
    job_id = client.add_job("mail", '{"to": "ada@example.org"}', retry=600)
    client.add_jobs("mail", ["x" * 300] * 60)
    client.add_job("mail", "later", delay=900)
    client.add_job(NASTY, b"\x00\xff<script>alert(2)</script>")
    letter = DeadLetter(
        "mail", "D-1", 3, 1, "Oops: <b>bold</b>", "Traceback:\n  " + "long " * 80,
        "2026-01-01T00:00:00+00:00", b"{}",
    )  # fmt: skip
    letter_id = client.add_job("mail:dead", letter.to_body())
    return {
        "overview": "/", "queues": "/queues", "queue": "/queue/mail",
        "nasty": f"/queue/{to_path(NASTY)}", "job": f"/job/{to_path(job_id)}",
        "letter": f"/job/{to_path(letter_id)}", "dead": "/dead", "letters": "/dead/mail:dead",
        "nodes": "/nodes", "nothing": "/queue/nobody",
    }  # fmt: skip


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

NAMELESS = """
[...document.querySelectorAll('a, button, input:not([type=hidden]), select, summary')]
  .filter(e => e.checkVisibility() && !(e.innerText?.trim() || e.ariaLabel || e.labels?.length))
  .map(e => e.outerHTML)
"""

FAINT = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const color = rgba(getComputedStyle(e).backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.nodeValue.trim());
    if (!own || !e.checkVisibility() || e.closest('svg')) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(e.outerHTML.slice(0, 100));
  }
  return faint;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page(look, client, size, scheme):
    """Each page fits its window, names all that can be used, and has contrast enough."""
    pages = filled(client)
    page = look("/", size, color_scheme=scheme)
    expect(page.get_by_role("link", name="mail", exact=True).first).to_be_visible()
    for name, path in pages.items():
        if name == "nothing":
            continue  # a browser complains of any 404
        page.goto(path)
        expect(page.locator("h1")).to_have_count(1)
        assert page.evaluate(OVERFLOW) <= 0, name
        assert page.evaluate(NAMELESS) == [], name
        assert page.evaluate(FAINT) == [], name


def test_a_narrow_phone(look, client):
    """At 360 pixels nothing sticks out."""
    pages = filled(client)
    page = look("/")
    page.set_viewport_size({"width": 360, "height": 640})
    for name in pages.keys() - {"nothing"}:
        page.goto(pages[name])
        assert page.evaluate(OVERFLOW) <= 0, name


def test_pages_without_scripts(look, client):
    """With scripts off pages say the same, acting works, and nothing is offered in vain."""
    pages = filled(client)
    page = look("/", java_script_enabled=False)
    for path in [pages[name] for name in pages.keys() - {"nothing"}]:
        page.goto(path)
        assert not page.get_by_role("button", name="Live").is_visible()
        assert not page.get_by_role("button", name="Theme").is_visible()
    page.goto("/queue/mail")
    page.get_by_role("button", name="Refuse new jobs").click()
    expect(page.get_by_role("status")).to_contain_text("new jobs are refused")
    assert client.qstat("mail").pause == b"in"


def test_numbers_follow(look, client):
    """What changes on the nodes changes on the page by itself, until that is paused."""
    client.add_job("mail", "x")
    page = look("/queues")
    row = page.locator('tr[data-key="mail"]')
    expect(row.locator('[data-label="queued"]')).to_have_text("1")
    client.add_jobs("mail", ["x"] * 1233)
    expect(row.locator('[data-label="queued"]')).to_have_text("1,234")
    expect(page.locator("#pulse")).to_contain_text("As of")
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")
    page.reload()
    expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")


def test_following_leaves_people_alone(look, client):
    """Focus, what was typed, and what was opened stay as numbers follow."""
    client.add_jobs("mail", ["x"] * 3)
    page = look("/queue/mail")
    page.get_by_text("Purge…").click()
    typed = page.get_by_label("Type the queue's name")
    typed.fill("mai")
    client.add_jobs("mail", ["x"] * 4)
    expect(page.locator(".figures dd").first).to_have_text("7")
    expect(typed).to_be_focused()
    expect(typed).to_have_value("mai")


def test_rows_that_change_places_keep_the_focus(look, client):
    """When another queue becomes the longest, the focus goes with its row and not to another."""
    client.add_jobs("first", ["x"] * 5)
    client.add_jobs("second", ["x"] * 2)
    page = look("/queues")
    link = page.get_by_role("link", name="second")
    link.focus()
    client.add_jobs("second", ["x"] * 9)
    expect(page.locator("tbody tr").first).to_contain_text("second")
    expect(link).to_be_focused()


def test_the_theme(look, client):
    """Dark or light is chosen by hand if wanted, and stays chosen; else it is as the system is."""
    filled(client)
    page = look("/", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(ground) != light
    page.goto("/nodes")
    assert page.evaluate(ground) != light
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("size", SIZES)
def test_finding(look, client, size):
    """A job is found by its ID, a queue by its name; else those named so are listed."""
    filled(client)
    job_id = client.add_job("orders", "x").decode()
    page = look("/nodes", size)
    for words, title in ((job_id, "Job"), ("orders", "Queue"), ("ord", "Queues")):
        page.get_by_label("Job ID or queue").fill(words)
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_contain_text(title)
    expect(page.locator("tbody tr")).to_have_count(1)


def test_sorting_and_filtering(look, client):
    """Queues are sorted by what is chosen, and only those shown whose names have some text."""
    for name, count in (("a-mail", 1), ("b-mail", 3), ("c-other", 2)):
        client.add_jobs(name, ["x"] * count)
    page = look("/queues")
    rows = page.locator("tbody tr td.first")
    expect(rows).to_have_text(["b-mail", "c-other", "a-mail"])
    page.get_by_label("sorted by").select_option("name")
    expect(rows).to_have_text(["a-mail", "b-mail", "c-other"])
    page.get_by_label("Name has").fill("MAIL")
    page.keyboard.press("Enter")
    expect(rows).to_have_text(["a-mail", "b-mail"])
    page.get_by_role("link", name="Queued").click()
    expect(rows).to_have_text(["b-mail", "a-mail"])


@pytest.mark.parametrize("size", SIZES)
def test_what_is_done_to_a_queue(look, client, size):
    """It is paused, resumed and, once its name is typed, purged."""
    client.add_jobs(NASTY, ["x"] * 3)
    page = look(f"/queue/{to_path(NASTY)}", size)
    for button, words, state in (
        ("Pause", "neither taken nor handed out", b"all"),
        ("Hand out none", "no jobs are handed out", b"out"),
        ("Refuse new jobs", "new jobs are refused", b"in"),
        ("Resume", "not paused", b"none"),
    ):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("status")).to_contain_text(words)
        assert client.qstat(NASTY).pause == state
    for typed, words, left in (("<img>", "Nothing was deleted", 3), ("", "", 0)):
        page.get_by_text("Purge…").click()
        name = typed or page.locator("label[for=typed] b").inner_text()
        page.get_by_label("Type the queue's name").fill(name)
        page.get_by_role("button", name="Delete all that is queued").click()
        expect(page.get_by_role("status")).to_contain_text(words or "3 jobs of")
        assert client.qlen(NASTY) == left


@pytest.mark.parametrize("size", SIZES)
def test_what_is_done_to_a_job(look, client, size):
    """It is taken out, queued, given back and deleted."""
    job_id = client.add_job("mail", "x", retry=600)
    page = look(f"/job/{to_path(job_id)}", size)
    press = page.get_by_role("button", name="Dequeue").click
    press()
    expect(page.get_by_role("status")).to_contain_text("taken out")
    page.get_by_role("button", name="Enqueue").click()
    expect(page.get_by_role("status")).to_contain_text("is queued")
    client.get_jobs(["mail"])
    page.get_by_role("button", name="Nack").click()
    expect(page.get_by_role("status")).to_contain_text("given back")
    assert client.show(job_id).nacks == 1
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete this job").click()
    expect(page.get_by_role("status")).to_contain_text("deleted")
    assert client.show(job_id) is None


@pytest.mark.parametrize("size", SIZES)
def test_what_is_done_to_dead_letters(look, client, size):
    """One is put back, one deleted, and the rest deleted once the queue's name is typed."""
    letter = DeadLetter("mail", "D-1", 3, 1, "Oops", "", "2026-01-01T00:00:00+00:00", b"{}")
    for _ in range(4):
        client.add_job("mail:dead", letter.to_body())
    page = look("/dead", size)
    page.get_by_role("link", name="mail:dead").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Put the chosen back").click()
    expect(page.get_by_role("status")).to_contain_text("1 job put back")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Delete the chosen").click()
    expect(page.get_by_role("status")).to_contain_text("1 dead letter deleted")
    page.get_by_text("Delete all…").click()
    page.get_by_label("Type the queue's name").fill("mail:dead")
    page.get_by_role("button", name="Delete all letters").click()
    expect(page.get_by_role("status")).to_contain_text("2 dead letters deleted")
    assert (client.qlen("mail"), client.qlen("mail:dead")) == (1, 0)


def test_bodies(look, client):
    """A body is shown as JSON, text and bytes, one after the other, and saved as it is."""
    body = '{"to": "ada@example.org", "html": "<script>alert(3)</script>"}'
    page = look(f"/job/{to_path(client.add_job('mail', body))}")
    text = page.get_by_label("Body as")
    expect(text).to_contain_text('"to": "ada@example.org"')
    page.get_by_role("link", name="text", exact=True).click()
    expect(text).to_have_text(body)
    page.get_by_role("link", name="hex", exact=True).click()
    expect(text).to_contain_text("7b 22 74 6f")
    with page.expect_download() as saved:
        page.get_by_role("link", name="save it").click()
    assert saved.value.path().read_text() == body


def test_keys_alone(look, client):
    """With the keyboard one gets past the bar, to a queue, and pauses it; the focus can be seen."""
    client.add_job("mail", "x")
    page = look("/")
    expect(page.get_by_role("link", name="mail", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    assert skip.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    focused: list[str] = []
    while "mail" not in focused[-1:] and len(focused) < 12:
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.innerText"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert focused[-1] == "mail"
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Queue")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Pause":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("paused")
    assert client.qstat("mail").pause == b"all"


def test_logging_in(browser, node, client):
    """A token is asked for, a wrong one refused; then one is where one wanted to be."""
    client.add_job("mail", "x")
    with Dashboard([node.address], PYDISQUE_DASHBOARD_TOKEN="open sesame") as board:
        context = browser.new_context(base_url=board.url, viewport=SIZES["phone"])
        page = context.new_page()
        page.goto("/queues?sort=name")
        expect(page.get_by_label("Token")).to_be_focused()
        page.keyboard.type("open barley")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not the token")
        page.get_by_label("Token").fill("open sesame")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_contain_text("Queues")
        assert page.url == f"{board.url}/queues?sort=name"
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto("/queues")
        expect(page.get_by_label("Token")).to_be_visible()
        context.close()
    assert "sesame" not in board.log


def test_a_page_left_open(browser, node, client):
    """When its session has ended, a page that follows says that one has to log in again."""
    client.add_job("mail", "x")
    with Dashboard([node.address], PYDISQUE_DASHBOARD_TOKEN="sesame") as board:
        context = browser.new_context(base_url=board.url)
        page = context.new_page()
        page.goto("/queues")
        page.get_by_label("Token").fill("sesame")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_contain_text("Queues")
        context.clear_cookies()
        expect(page.locator("#pulse")).to_contain_text("Log in again", timeout=15_000)
        context.close()


def test_another_site_cannot_act(browser, board, client):
    """A page of another origin that sends our forms, or frames us, gets nowhere."""
    client.add_job("mail", "x")
    evil = f"""<form method=post action="{board.url}/queue/mail/pause"><input name=state value=all>
        <button>Win</button></form><iframe src="{board.url}/queue/mail"></iframe>"""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{board.url}/queue/mail")
    page.route("http://localhost:1/", lambda r: r.fulfill(body=evil, content_type="text/html"))
    page.goto("http://localhost:1/")
    assert "mail" not in page.frames[-1].content()
    with page.expect_response(lambda answer: answer.request.method == "POST") as refused:
        page.get_by_role("button", name="Win").click()
    assert refused.value.status == 403
    context.close()
    assert client.qstat("mail").pause == b"none"


def test_a_node_that_goes_and_comes(browser):
    """An open page says that the node is gone, keeps what it knew, and goes on by itself."""
    with NodeProcess() as node, Dashboard([node.address]) as board:
        node.ask("ADDJOB", "mail", "x", 0)
        context = browser.new_context(base_url=board.url)
        page = context.new_page()
        until(lambda: page.goto("/queues") and page.get_by_role("link", name="mail").is_visible())
        node.kill()
        expect(page.locator(".alert").first).to_be_visible(timeout=15_000)
        expect(page.get_by_role("link", name="mail")).to_be_visible()
        node.start()
        expect(page.locator(".alert")).to_have_count(0, timeout=15_000)
        context.close()
