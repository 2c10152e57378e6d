"""What forms send: logging in and out, and all that changes anything.

A form counts if it was on a page of the browser that sends it; what it did is told by the page that
follows, and logged without anything out of a body.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qs

from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from pydisque.dashboard import actions, auth
from pydisque.dashboard.middleware import keep_cookie
from pydisque.dashboard.pages import AbsentError, Pages
from pydisque.dashboard.settings import Settings
from pydisque.dashboard.templating import called
from pydisque.dashboard.urls import from_path, to_path
from pydisque.monitoring.text import shown
from pydisque.protocol.validation import is_job_id

logger = logging.getLogger("pydisque.dashboard")

LARGEST = 64 * 1024
"""Bytes of a form."""

MOST_FIELDS = 1000

READ_SECONDS = 10.0
"""Within which a form must have come: whoever sends it slowly takes the place of others."""

Fields = dict[str, list[str]]

FailedLogin = Callable[[Request], Awaitable[Response | None]]


async def fields_of(request: Request) -> Fields | None:
    """What a form says; None: it is too large, too slow, cut off, or no form."""
    body = b""
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return None


def _one(fields: Fields, name: str) -> str:
    return fields.get(name, [""])[0]


class Forms:
    """All of them; those that change anything are there only if that is allowed."""

    def __init__(
        self, pages: Pages, settings: Settings, sessions: auth.Sessions, failed_login: FailedLogin
    ) -> None:
        """Make them; `failed_login` is `Guard.failed_login`."""
        self._pages = pages
        self._settings = settings
        self._sessions = sessions
        self._failed_login = failed_login

    async def _meant(self, request: Request) -> Fields | None:
        fields = await fields_of(request)
        if fields is None:
            return None
        given = _one(fields, "form_token")
        return fields if self._sessions.is_form_token(request.state.cookie, given) else None

    # Logging in and out

    async def login_page(self, request: Request) -> Response:
        """Where the token is given."""
        return self._login_page(request, request.query_params.get("next", "/"))

    def _login_page(self, request: Request, goal: str, *, wrong: bool = False) -> Response:
        if not self._settings.door.token:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        status = HTTPStatus.FORBIDDEN if wrong else HTTPStatus.OK
        return self._pages.page(request, "login", status=status, wrong=wrong, goal=_own_path(goal))

    async def login(self, request: Request) -> Response:
        """The token was given, or something else."""
        fields = await self._meant(request)
        if fields is None:
            return _not_meant()
        if not self._settings.door.takes_token(_one(fields, "token")):
            refusal = await self._failed_login(request)
            return refusal or self._login_page(request, _one(fields, "next"), wrong=True)
        request.state.cookie = self._sessions.admit(time.monotonic())
        response = RedirectResponse(_own_path(_one(fields, "next")), HTTPStatus.SEE_OTHER)
        keep_cookie(request, response)
        return response

    async def logout(self, request: Request) -> Response:
        """Forget that the token was given."""
        if await self._meant(request) is None:
            return _not_meant()
        self._sessions.end(request.state.cookie)
        return RedirectResponse("/login", HTTPStatus.SEE_OTHER)

    # Changing something

    async def pause(self, request: Request) -> Response:
        """Pause a queue, or end its pause."""

        async def act(name: bytes, fields: Fields) -> str:
            state = _one(fields, "state")
            if state not in actions.PAUSES:
                return "Nothing was changed: that is no pause."
            return await self._pages.ask(actions.pause, name, state)

        return await self._act(request, "pause", "queue", act)

    async def purge(self, request: Request) -> Response:
        """Delete what is queued, once the queue's name is typed."""

        async def act(name: bytes, fields: Fields) -> str:
            if _one(fields, "typed") != called(name):
                return "Nothing was deleted: what was typed is not the queue's name."
            return await self._pages.ask(actions.purge, name)

        return await self._act(request, "purge", "queue", act)

    async def job(self, request: Request) -> Response:
        """Do something with a job."""
        word = request.path_params["action"]
        if word not in actions.ON_JOBS:
            return await self._pages.failed(request, AbsentError("There is no such action."))

        async def act(name: bytes, _: Fields) -> str:
            job_id = name.decode(errors="replace")
            if not is_job_id(job_id):
                return "That is no job ID."
            return await self._pages.ask(actions.ON_JOBS[word], job_id)

        return await self._act(request, word, "job", act)

    async def replay(self, request: Request) -> Response:
        """Put jobs of dead letters back, those chosen or all."""

        async def act(name: bytes, fields: Fields) -> str:
            ids = _chosen(fields)
            if not ids and _one(fields, "which") != "all":
                return "Nothing was put back: no letter was chosen."
            return await self._pages.ask(actions.replay, name, ids)

        return await self._act(request, "replay", "dead", act)

    async def discard(self, request: Request) -> Response:
        """Delete dead letters: those chosen, or all once the queue's name is typed."""

        async def act(name: bytes, fields: Fields) -> str:
            if _one(fields, "which") == "all":
                if _one(fields, "typed") != called(name):
                    return "Nothing was deleted: what was typed is not the queue's name."
                return await self._pages.ask(actions.discard, name, [])
            ids = _chosen(fields)
            if not ids:
                return "Nothing was deleted: no letter was chosen."
            return await self._pages.ask(actions.discard, name, ids)

        return await self._act(request, "discard", "dead", act)

    async def _act(
        self,
        request: Request,
        word: str,
        kind: str,
        act: Callable[[bytes, Fields], Awaitable[str]],
    ) -> Response:
        """Do it if it is meant, and show the page it was done on, which tells what came of it."""
        fields = await self._meant(request)
        if fields is None:
            return _not_meant()
        try:
            name = from_path(request.path_params["name"])
        except ValueError:
            return await self._pages.failed(request, AbsentError("There is no such name."))
        try:
            told = await act(name, fields)
        except RedisError as error:
            told = f"It was refused: {shown(str(error))}."
        client = request.client.host if request.client else "?"
        logger.info("%s of %s by %s: %s", word, shown(name), client, told)
        self._pages.note(request, told)
        goal = f"/{kind}/{to_path(name)}"
        return RedirectResponse(_own_path(_one(fields, "next") or goal), HTTPStatus.SEE_OTHER)


def _chosen(fields: Fields) -> list[str]:
    return [job_id for job_id in fields.get("id", []) if is_job_id(job_id)]


def _not_meant() -> Response:
    text = "this form is not from a page of this browser, or too old: reload the page\n"
    return PlainTextResponse(text, HTTPStatus.FORBIDDEN)


def _own_path(text: str) -> str:
    """A path on this very dashboard, whatever was asked for."""
    fine = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if fine else "/"
