"""The dashboard as an ASGI application: which address leads where, and what lives beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from pydisque.dashboard import templating
from pydisque.dashboard.auth import Sessions
from pydisque.dashboard.clients import Clients
from pydisque.dashboard.forms import Forms
from pydisque.dashboard.metrics import Metrics
from pydisque.dashboard.middleware import Guard
from pydisque.dashboard.pages import AbsentError, Pages, TooLongError
from pydisque.dashboard.poller import Watch
from pydisque.dashboard.settings import Settings


class _Static(StaticFiles):
    """Files whose addresses change when they do."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, for ever."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def application(settings: Settings) -> ASGIApp:
    """The dashboard; it looks at the nodes for as long as it lives."""
    watch, clients, sessions = Watch(settings.nodes), Clients(), Sessions()
    pages = Pages(watch, clients, settings, sessions)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(watch.run())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            clients.close()

    async def failed(request: Request, error: Exception) -> Response:
        return await pages.failed(request, error)

    inner = Starlette(
        lifespan=lifespan,
        exception_handlers=dict.fromkeys((AbsentError, RedisError, TooLongError), failed),
    )
    guard = Guard(inner, settings, sessions)
    inner.router.routes.extend(
        _routes(pages, Forms(pages, settings, sessions, guard.failed_login), settings)
    )
    inner.router.routes.append(Route("/metrics", Metrics(watch).page))
    return guard


def _routes(pages: Pages, forms: Forms, settings: Settings) -> list[BaseRoute]:
    routes: list[BaseRoute] = [
        Route("/", pages.overview),
        Route("/queues", pages.queues),
        Route("/queue/{name}", pages.queue),
        Route("/job/{name}", pages.job),
        Route("/job/{name}/body", pages.body),
        Route("/dead", pages.dead),
        Route("/dead/{name}", pages.letters),
        Route("/nodes", pages.nodes),
        Route("/search", pages.search),
        Route("/login", forms.login_page, methods=["GET"]),
        Route("/login", forms.login, methods=["POST"]),
        Route("/logout", forms.logout, methods=["POST"]),
        Mount("/static", _Static(directory=templating.STATIC)),
    ]
    if settings.actions:
        routes += [
            Route("/queue/{name}/pause", forms.pause, methods=["POST"]),
            Route("/queue/{name}/purge", forms.purge, methods=["POST"]),
            Route("/job/{name}/{action}", forms.job, methods=["POST"]),
            Route("/dead/{name}/replay", forms.replay, methods=["POST"]),
            Route("/dead/{name}/discard", forms.discard, methods=["POST"]),
        ]
    return routes
