"""What every request has to pass, and what every answer carries.

A request that names a host which is not ours, that comes from somebody else's page, or whose sender
may not look, gets no further. Nothing here knows what the pages are.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pydisque.dashboard import auth
from pydisque.dashboard.settings import Settings
from pydisque.service.hosts import host_is_ours

SLOW = 0.5
"""Seconds after which a failed login is answered."""

MOST_REQUESTS = 200
"""Requests under way at once of those who may look; more are told to come again."""

PUBLIC = ("/static/", "/login")
"""What can be seen without being let in."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Stands before the application, as ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings, sessions: auth.Sessions) -> None:
        """Guard an application."""
        self._app = app
        self._settings = settings
        self._sessions = sessions
        self._failed = auth.FailedLogins()
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        known = request.cookies.get(cookie_name(request), "")
        request.state.cookie = known or self._sessions.fresh()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = await self._refusal(request, known)
        if refusal is not None:
            await refusal(scope, receive, answer)
        elif _is_public(scope):
            await self._app(scope, receive, answer)
        else:
            await self._pass(scope, receive, answer)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to what takes its time; what anybody may ask for does not count."""
        if self._under_way >= MOST_REQUESTS:
            refusal = _refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once")
            await refusal(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    async def _refusal(self, request: Request, cookie: str) -> Response | None:
        if not host_is_ours(request.headers.get("host", ""), self._settings.hosts):
            return _refused(HTTPStatus.MISDIRECTED_REQUEST, "this host is not ours: --allow-host")
        if request.method not in ("GET", "HEAD") and not auth.is_from_us(request.headers):
            return _refused(HTTPStatus.FORBIDDEN, "this did not come from a page of ours")
        if _is_public(request.scope) or self._is_admitted(cookie):
            return None
        header = request.headers.get("authorization")
        if header is None:
            return self._who(request)
        if self._settings.door.takes_header(header):
            return None
        return await self.failed_login(request) or self._who(request)

    def _is_admitted(self, cookie: str) -> bool:
        return self._settings.door.open or self._sessions.admitted(cookie, time.monotonic())

    async def failed_login(self, request: Request) -> Response | None:
        """Delay the answer to a failed login, or refuse it at once where too many wait already."""
        source = auth.source_of(request.client.host if request.client else "")
        if not self._failed.begin(source):
            text = "that is wrong, and too many were lately: wait a moment"
            return _refused(HTTPStatus.TOO_MANY_REQUESTS, text, {"Retry-After": "1"})
        try:
            await asyncio.sleep(SLOW)
        finally:
            self._failed.end(source)
        return None

    def _who(self, request: Request) -> Response:
        if self._settings.door.password:
            asked = {"WWW-Authenticate": 'Basic realm="pydisque", charset="UTF-8"'}
            return _refused(HTTPStatus.UNAUTHORIZED, "who are you?", asked)
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            query = request.scope["query_string"].decode("latin-1")
            whole = f"{request.scope['path']}?{query}".removesuffix("?")
            return RedirectResponse(f"/login?next={quote(whole)}", HTTPStatus.SEE_OTHER)
        return _refused(
            HTTPStatus.UNAUTHORIZED, "the token is missing", {"WWW-Authenticate": "Bearer"}
        )


def _is_public(scope: Scope) -> bool:
    # Not the path of the URL, which is put together of what the request says of the host.
    path: str = scope["path"]
    return path.startswith(PUBLIC)


def _refused(status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> Response:
    # What is refused keeps no connection, of which there are as many as requests.
    return PlainTextResponse(f"{text}\n", status, {**(headers or {}), "Connection": "close"})


def cookie_name(request: Request) -> str:
    """Cookies know no ports: two dashboards on one machine are kept apart by the name."""
    server = request.scope.get("server") or ("", 0)
    return f"pydisque_{server[1]}"


def keep_cookie(request: Request, response: Response) -> None:
    """Have the browser bring its session again."""
    encrypted = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    response.set_cookie(
        cookie_name(request), request.state.cookie,
        httponly=True, samesite="strict", secure=encrypted,
    )  # fmt: skip
