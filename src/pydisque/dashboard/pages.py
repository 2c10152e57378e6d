"""The pages: what each of them shows, from the survey and, for jobs, from the nodes.

A page that is asked for again by its own script, every two seconds, is made from the survey alone:
what the nodes are asked does not depend on how many look.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pydisque import dead_letters
from pydisque.dashboard import auth, charts, jobs, templating
from pydisque.dashboard.clients import Clients
from pydisque.dashboard.middleware import keep_cookie
from pydisque.dashboard.poller import Watch
from pydisque.dashboard.settings import Settings
from pydisque.dashboard.urls import from_path, to_path
from pydisque.monitoring.figures import QueueFigures
from pydisque.monitoring.text import (
    beginning,
    hex_dump,
    is_text,
    json_laid_out,
    laid_out,
    shown,
    shown_lines,
    truncate,
)
from pydisque.protocol.validation import is_job_id

T = TypeVar("T")

PAGE = 50
"""Queues on a page."""

BUSIEST = 10
"""Queues on the first page."""

LONGEST_BODY = 64 * 1024
"""Bytes of a body on a page; all of it is for downloading."""

LARGEST_PAGE = 8 * 1024 * 1024
"""Letters of a page; what is in it is bounded one by one, this is for what nobody thought of."""

MOST_NOTES = 1000
"""Lines that wait for a browser to come back for them."""

LIVE = "x-live"
"""The header by which a page's own script asks for it again."""

SORTS: dict[str, Callable[[QueueFigures], Any]] = {
    "name": lambda queue: queue.name,
    "len": lambda queue: (-queue.len, queue.name),
    "in": lambda queue: (-queue.in_rate, queue.name),
    "out": lambda queue: (-queue.out_rate, queue.name),
    "active": lambda queue: (-(queue.active or 0), queue.name),
    "delayed": lambda queue: (-(queue.delayed or 0), queue.name),
    "blocked": lambda queue: (-queue.blocked, queue.name),
    "idle": lambda queue: (-queue.idle, queue.name),
}

TABS = {
    "queued": "queued", "newest": "newest", "active": "active and delayed",
    "acked": "acknowledged", "wait-repl": "waiting for copies",
}  # fmt: skip

FORMS_OF_BODY = ("json", "text", "hex")


class AbsentError(Exception):
    """There is no such page, queue or job."""


class TooLongError(Exception):
    """A page would be too long, for whoever made it and for the browser."""


class Pages:
    """All of them, over one watch."""

    def __init__(
        self, watch: Watch, clients: Clients, settings: Settings, sessions: auth.Sessions
    ) -> None:
        """Make them; nothing is asked yet."""
        self._watch = watch
        self._clients = clients
        self._settings = settings
        self._sessions = sessions
        self._templates = templating.environment()
        self._notes: OrderedDict[str, str] = OrderedDict()

    # What they have in common

    async def ask(self, question: Callable[..., T], *args: Any, **options: Any) -> T:
        """What comes of asking the nodes whose jobs count.

        Raises:
            RedisError: none answers.
        """
        urls = [probe.address.url for probe in self._watch.survey.asked]
        if not urls:
            raise RedisError(self._watch.error or "no node answers")
        return await run_in_threadpool(question, self._clients.of(urls), *args, **options)

    def page(
        self, request: Request, template: str, /, *, status: HTTPStatus = HTTPStatus.OK, **told: Any
    ) -> Response:
        """A page by its template."""
        live = LIVE in request.headers
        cookie = request.state.cookie
        text = self._rendered(
            template,
            request=request,
            section=template,
            settings=self._settings,
            nodes=self._watch.survey.nodes,
            error=self._watch.error,
            live=live,
            note="" if live else self._notes.pop(cookie, ""),
            form_token=self._sessions.form_token(cookie),
            theme=_theme(request),
            **told,
        )
        response = HTMLResponse(text, status)
        if not live:
            keep_cookie(request, response)
        return response

    def _rendered(self, template: str, **told: Any) -> str:
        """A page as text, given up when it becomes too long.

        Raises:
            TooLongError: it does.
        """
        pieces: list[str] = []
        size = 0
        for piece in self._templates.get_template(f"{template}.html").generate(**told):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST_PAGE:
                raise TooLongError
        return "".join(pieces)

    def note(self, request: Request, text: str) -> None:
        """Have the next page of this browser say something."""
        self._notes[request.state.cookie] = text
        while len(self._notes) > MOST_NOTES:
            self._notes.popitem(last=False)

    async def failed(self, request: Request, error: Exception) -> Response:
        """The page for what could not be asked, is not there, or would be too long."""
        if isinstance(error, TooLongError):
            text = f"It would be longer than {templating.size(LARGEST_PAGE)}."
            return self.page(
                request, "message", status=HTTPStatus.INSUFFICIENT_STORAGE, title="Too long",
                text=text,
            )  # fmt: skip
        if isinstance(error, AbsentError):
            return self.page(
                request, "message", status=HTTPStatus.NOT_FOUND, title="Not there", text=str(error)
            )
        text = f"{shown(truncate(str(error), templating.LONGEST_TEXT))}."
        return self.page(
            request, "message", status=HTTPStatus.BAD_GATEWAY, title="No answer", text=text
        )

    # Overview, queues, nodes: from the survey

    async def overview(self, request: Request) -> Response:
        """Everything together."""
        await self._watch.attend()
        survey = self._watch.survey
        queues = survey.queues.values()
        busiest = heapq.nsmallest(
            BUSIEST, queues, key=lambda q: (-(q.in_rate + q.out_rate), -q.len, q.name)
        )
        return self.page(
            request,
            "overview",
            totals=self._totals(),
            busiest=busiest,
            rates=_rates(survey.samples),
            lengths=_lengths(survey.samples),
            spark=_spark,
        )

    def _totals(self) -> dict[str, Any]:
        survey = self._watch.survey
        queues = survey.queues.values()
        last = survey.samples[-1] if survey.samples else None
        counted = all(queue.active is not None for queue in queues)
        others = survey.others_counted
        return {
            "last": last,
            "queues": survey.queue_count,
            "complete": survey.complete,
            "active": sum((q.active or 0 for q in queues), others[0]) if counted else None,
            "delayed": sum((q.delayed or 0 for q in queues), others[1]) if counted else None,
            "blocked": sum((queue.blocked for queue in queues), survey.rest.blocked),
            "paused": sum(queue.pause != b"none" for queue in queues),
            "dead": sum(queue.len for queue in queues if _is_dead(queue)),
        }

    async def queues(self, request: Request) -> Response:
        """All queues, a page of them at a time."""
        await self._watch.attend()
        wanted = request.query_params.get("q", "")
        sort = request.query_params.get("sort", "len")
        order = SORTS.get(sort, SORTS["len"])
        found = [
            queue
            for queue in self._watch.survey.queues.values()
            if not wanted or wanted.lower() in shown(queue.name).lower()
        ]
        last = max(1, -(-len(found) // PAGE))
        at = min(_positive(request.query_params.get("page", "")), last)
        rows = heapq.nsmallest(at * PAGE, found, key=order)[(at - 1) * PAGE :]
        await self._watch.attend(queue.name for queue in rows)
        return self.page(
            request,
            "queues",
            rows=rows,
            count=len(found),
            complete=self._watch.survey.complete,
            wanted=wanted,
            sort=sort if sort in SORTS else "len",
            at=at,
            last=last,
            spark=_spark,
            here=lambda **changed: _query(request, "/queues", **changed),
        )

    async def nodes(self, request: Request) -> Response:
        """The nodes and how they are."""
        await self._watch.attend()
        asked = {probe.name for probe in self._watch.survey.asked}
        return self.page(request, "nodes", asked=asked)

    # Jobs: from the nodes

    async def queue(self, request: Request) -> Response:
        """One queue, with a page of its jobs."""
        name = _name(request)
        await self._watch.attend([name])
        figures = self._watch.survey.queues.get(name)
        tab = request.query_params.get("jobs", "queued")
        tab = tab if tab in TABS else "queued"
        listing = None
        if LIVE not in request.headers and not self._watch.error:
            figures = figures or await self._newcomer(name)
            listing = await self._jobs(name, tab, request.query_params.get("from", ""))
        if figures is None and self._watch.error:
            raise RedisError(self._watch.error)  # it is not known whether there is such a queue
        nothing = figures is None and not (listing and listing.jobs)
        queue = figures or QueueFigures(name)
        return self.page(
            request,
            "queue",
            status=HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK,
            queue=queue,
            name=name,
            known=figures is not None,
            dead_queue=_is_dead(queue),
            letters=self._watch.survey.queues.get(name + dead_letters.SUFFIX.encode()),
            rates=_rates(queue.samples),
            lengths=_lengths(queue.samples),
            tab=tab,
            tabs=TABS,
            listing=listing,
        )

    async def _is_newcomer(self, name: bytes) -> bool:
        may_be = templating.linkable(name) and not self._watch.error
        return may_be and await self._newcomer(name) is not None

    async def _newcomer(self, name: bytes) -> QueueFigures | None:
        """A queue that the survey has not met yet, if there is one."""
        stats = await self.ask(lambda clients: [client.qstat(name) for client in clients])
        found = {str(at): each for at, each in enumerate(stats) if each is not None}
        if not found:
            return None
        figures = QueueFigures(name)
        figures.see(found, 0.0)
        return figures

    async def _jobs(self, name: bytes, tab: str, place: str) -> jobs.Listing:
        if tab in jobs.SCANNED:
            listing = await self.ask(jobs.scanned, name, tab, jobs.Place.parse(place))
        else:
            listing = await self.ask(jobs.queued, name, newest=tab == "newest")
        return listing if self._settings.bodies else listing.without_bodies()

    async def job(self, request: Request) -> Response:
        """All of one job."""
        job_id = _job_id(request)
        await self._watch.attend()
        story = await self.ask(jobs.story, job_id)
        if story is None:
            raise AbsentError(f"No node knows the job {job_id}: it is done, or its time was up.")
        story = story if self._settings.bodies else story.without_body()
        form, text = self._body(story.body, request.query_params.get("as", ""))
        addresses = {node.id: node.address for node in self._watch.survey.nodes}
        return self.page(
            request,
            "job",
            story=story,
            info=story.info,
            form=form,
            forms=FORMS_OF_BODY,
            text=text,
            longest=LONGEST_BODY,
            headers=shown_lines(laid_out(story.headers, LONGEST_BODY)) if story.headers else "",
            address=lambda node: addresses.get(node.decode(), node.decode()),
        )

    def _body(self, body: bytes, form: str) -> tuple[str, str]:
        """A body in one of its forms; the first that says something unless one was asked for."""
        if not self._settings.bodies:
            return "", ""
        start = beginning(body, LONGEST_BODY)
        spread = json_laid_out(body, LONGEST_BODY) if len(body) <= LONGEST_BODY else None
        if form not in FORMS_OF_BODY:
            form = "json" if spread is not None else "text" if is_text(start) else "hex"
        if form == "json":
            return form, "This is no JSON." if spread is None else shown_lines(spread)
        if form == "hex":
            return form, hex_dump(start)
        return form, shown_lines(start.decode(errors="backslashreplace"))

    async def body(self, request: Request) -> Response:
        """A job's body as it is, to be saved."""
        story = await self.ask(jobs.story, _job_id(request)) if self._settings.bodies else None
        if story is None:
            raise AbsentError("There is no such body.")
        headers = {"Content-Disposition": "attachment; filename=body"}
        return Response(story.body, headers=headers, media_type="application/octet-stream")

    async def dead(self, request: Request) -> Response:
        """The queues of dead letters."""
        await self._watch.attend()
        found = [
            queue for queue in self._watch.survey.queues.values() if _is_dead(queue) and queue.len
        ]
        rows = heapq.nsmallest(PAGE, found, key=SORTS["len"])
        return self.page(request, "dead", rows=rows, count=len(found))

    async def letters(self, request: Request) -> Response:
        """The oldest dead letters of one queue."""
        name = _name(request)
        await self._watch.attend([name])
        listing = await self.ask(jobs.queued, name)
        letters = await run_in_threadpool(jobs.letters, listing, name, bodies=self._settings.bodies)
        letters.sort(key=lambda filed: filed.letter.at if filed.letter else "")
        return self.page(
            request,
            "letters",
            name=name,
            letters=letters,
            unread=listing.unread,
            queue=self._watch.survey.queues.get(name),
        )

    # Finding

    async def search(self, request: Request) -> Response:
        """Where somebody wants to go: to a job, to a queue, or to those named so."""
        wanted = request.query_params.get("q", "").strip()
        if is_job_id(wanted):
            return _see(f"/job/{to_path(wanted.encode())}")
        await self._watch.attend()
        name = dead_letters.encoded(wanted)
        known = name in self._watch.survey.queues  # of many those with most to do
        if known or await self._is_newcomer(name):
            return _see(f"/queue/{to_path(name)}")
        return _see(f"/queues?{urlencode({'q': wanted})}")


def _rates(samples: Any) -> charts.Chart:
    return charts.chart(samples, **{"in": lambda s: s.in_rate, "out": lambda s: s.out_rate})


def _lengths(samples: Any) -> charts.Chart:
    return charts.chart(samples, queued=lambda s: s.len)


def _spark(queue: QueueFigures) -> str:
    return charts.spark(queue.samples, lambda s: s.len)


def _is_dead(queue: QueueFigures) -> bool:
    return queue.name.endswith(dead_letters.SUFFIX.encode())


def _name(request: Request) -> bytes:
    try:
        return from_path(request.path_params["name"])
    except ValueError:
        raise AbsentError("No queue has such a name.") from None


def _job_id(request: Request) -> str:
    job_id = _name(request).decode(errors="replace")
    if not is_job_id(job_id):
        raise AbsentError(f"{shown(job_id)} is no job ID.")
    return job_id


def _positive(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 9 else 1


def _query(request: Request, path: str, **changed: Any) -> str:
    """The address of this page with something else in its query."""
    query = {**request.query_params, **changed}
    return f"{path}?{urlencode({name: value for name, value in query.items() if value != ''})}"


def _theme(request: Request) -> str:
    theme = request.cookies.get("pydisque_theme", "")
    return theme if theme in ("dark", "light") else ""


def _see(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
