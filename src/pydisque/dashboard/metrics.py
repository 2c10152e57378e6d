"""`/metrics`: what the survey saw last, for Prometheus; needs the extra ``metrics``.

Whoever scrapes does not count as somebody who looks: the nodes are asked no more for it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pydisque.dashboard.poller import Watch

if TYPE_CHECKING:
    from pydisque.monitoring.metrics import SurveyMetrics

MISSING = "pip install 'pydisque[metrics]>=1.0' on this machine, and start the dashboard anew\n"


class Metrics:
    """The figures of all nodes and of the queues with most to do."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._told: SurveyMetrics | None = None
        self._turn = asyncio.Lock()

    async def page(self, request: Request) -> Response:
        """All of them as text; written in a thread, as there may be many."""
        try:
            from pydisque.monitoring.metrics import SurveyMetrics  # noqa: PLC0415 - an extra
        except ImportError:
            return PlainTextResponse(MISSING, HTTPStatus.NOT_IMPLEMENTED)
        await self._watch.first_look()
        async with self._turn:
            told = self._told = self._told or SurveyMetrics(self._watch.survey)
            accept = request.headers.get("accept", "")
            text, content_type = await asyncio.to_thread(told.exposition, accept)
        return Response(text, headers={"Content-Type": content_type})
