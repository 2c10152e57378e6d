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

SLOW = 0.5
"""Seconds that one wrong guess of a token or password takes; they are taken one after another."""

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
        self._guesses = asyncio.Lock()

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
        await (refusal or self._app)(scope, receive, answer)

    async def _refusal(self, request: Request, cookie: str) -> Response | None:
        if not auth.host_is_ours(request.headers.get("host", ""), self._settings.hosts):
            return _refused(HTTPStatus.MISDIRECTED_REQUEST, "this host is not ours: --allow-host")
        if request.method not in ("GET", "HEAD") and not auth.is_from_us(request.headers):
            return _refused(HTTPStatus.FORBIDDEN, "this did not come from a page of ours")
        # Not the path of the URL, which is put together of what the request says of the host.
        if request.scope["path"].startswith(PUBLIC) or await self._may_look(request, cookie):
            return None
        return self._who(request)

    async def _may_look(self, request: Request, cookie: str) -> bool:
        door = self._settings.door
        if door.open or self._sessions.admitted(cookie, time.monotonic()):
            return True
        header = request.headers.get("authorization")
        if header is None:
            return False
        if door.takes_header(header):
            return True
        await self.wrong_guess()
        return False

    async def wrong_guess(self) -> None:
        """Take the time that a guess costs; those who are right do not wait with them."""
        async with self._guesses:
            await asyncio.sleep(SLOW)

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


def _refused(status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


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
