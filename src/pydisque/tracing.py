"""The producer's side of a trace that goes on in a worker; needs the extra ``otel``.

The worker's side is `pydisque.worker.tracing`.
"""

from __future__ import annotations

from opentelemetry import propagate

from pydisque.protocol.envelope import wrap


def traced(body: bytes | str) -> bytes:
    """The body with the current trace beside it, for `add_job`; the body alone if there is none.

    ::

        client.add_job("emails", traced(json.dumps(email)))

    What travels is what the global propagator of OpenTelemetry writes: by default W3C's traceparent
    and tracestate, and baggage. pydisque's workers take it off again before a handler sees the
    body; other consumers see it, in the form of `pydisque.protocol.envelope`.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return wrap(body.encode() if isinstance(body, str) else body, carrier)
