"""Traces: one from a request through log and Kafka to the read models of every service.

An event keeps the context of the span that appended it, where that is sampled, and nothing else. So
whoever takes events looks at nothing but whether they keep one. Spans of OpenTelemetry, named as
its conventions for HTTP and for messages in batches have it; mail, for which there are none, alike.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Final, Self

import orjson
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from types import TracebackType
    from uuid import UUID

    from structlog.typing import EventDict, WrappedLogger

TRACEPARENT: Final = "traceparent"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
LAST_SPANS_S: Final = 2.0
"""From the end of all loops on, for the receiver to take what is left."""
MOST_LINKS: Final = 128
"""Of a batch's span; as OpenTelemetry has it."""

_W3C: Final = TraceContextTextMapPropagator()
_tracer: Final = trace.get_tracer(__name__)

Taken = tuple[str, str, "UUID | str", "str | None"]
"""Of an event: the topic or model, its type, its id, and its `meta` as it is stored, JSON."""


class Operation(Enum):
    """What a batch of events goes through, and which kind of span that is."""

    SEND = "send"
    RECEIVE = "receive"
    PROCESS = "process"

    @property
    def kind(self) -> SpanKind:
        return SpanKind.CONSUMER if self is Operation.PROCESS else SpanKind.CLIENT

    @property
    def system(self) -> str:
        """Where the events are taken from, or to."""
        return "kith" if self is Operation.PROCESS else "kafka"


def begin_traces(service: str) -> Callable[[], None]:
    """Export spans where the environment names an endpoint; call what is returned at the end.

    All else is told by the environment too, as OpenTelemetry has it: `OTEL_TRACES_SAMPLER` and so
    on. Called once, at the start of a process.
    """
    if not any(map(os.environ.get, ENDPOINTS)):
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # slow
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  # as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # as above

    named = Resource.create({"service.name": service, "service.namespace": "kith"})
    provider = TracerProvider(resource=named, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    def end() -> None:
        # What is not taken by then is given up: its own limit is half a minute.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(LAST_SPANS_S)

    return end


def is_on() -> bool:
    """Does this process export spans?"""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def serving(traceparent: str | None) -> Generator[Span]:
    """The span of a request, which goes on with its caller's trace or begins one.

    Where nothing is exported the caller's context is still the one that events keep.
    """
    if traceparent is None and not is_on():
        yield INVALID_SPAN
        return
    with _tracer.start_as_current_span(
        "HTTP",
        context=_context_of(traceparent),
        kind=SpanKind.SERVER,
        record_exception=False,  # its text may be personal
        set_status_on_exception=False,
    ) as span:
        yield span


def served(span: Span, *, method: str, route: str, status: int | None) -> None:
    """Name a request's span by its route: its path may name people."""
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status or 0,
        }
    )
    if status is None or status >= 500:  # noqa: PLR2004  # HTTP's own number
        span.set_status(Status(StatusCode.ERROR))


class Appending:
    """The spans of one append: one for each trace that its events belong to."""

    def __init__(self) -> None:
        current = trace.get_current_span().get_span_context()
        self._current = current.is_valid and current.trace_flags.sampled
        self._spans: dict[str | None, Span] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        for span in self._spans.values():
            if kind is not None:
                failed(span, kind.__qualname__)
            span.end()

    def meta(self, meta: Mapping[str, str]) -> Mapping[str, str]:
        """What an event keeps: what is told of it, and the span of this append.

        It belongs to the trace of its cause, where it says so, else to that of the request.
        """
        parent = meta.get(TRACEPARENT)
        if parent is None and not self._current:
            return meta
        span = self._spans.get(parent)
        if span is None:
            context = None if parent is None else _context_of(parent)
            span = _tracer.start_span("append", context=context, kind=SpanKind.PRODUCER)
            self._spans[parent] = span
        carried = _traceparent_of(span)
        return meta if carried is None else {**meta, TRACEPARENT: carried}


def tell(operation: Operation, events: Iterable[Taken], *, began_ns: int, name: str = "") -> None:
    """Tell of a batch that was done just now what each event of a trace went through.

    One span of the batch is linked to them, and each of them has one in its own trace, with the
    times of the batch. Events are looked at only where spans are exported.
    """
    if not is_on():
        return
    traced = [
        (place, kind, event_id, context)
        for place, kind, event_id, meta in events
        if meta is not None and (context := _sampled(meta)) is not None
    ]
    if not traced:
        return
    ended_ns = time.time_ns()
    told = {"messaging.operation.type": operation.value, "messaging.system": operation.system}
    contexts = (trace.get_current_span(context).get_span_context() for *_, context in traced)
    batch = _tracer.start_span(
        f"{operation.value} {name}".rstrip(),
        context=Context(),
        kind=operation.kind,
        attributes={**told, "messaging.batch.message_count": len(traced)},
        links=[Link(context) for context, _ in zip(contexts, range(MOST_LINKS), strict=False)],
        start_time=began_ns,
    )
    batch.end(ended_ns)
    for place, kind, event_id, context in traced:
        span = _tracer.start_span(
            f"{operation.value} {place}",
            context=context,
            kind=operation.kind,
            attributes={
                **told,
                "messaging.destination.name": place,
                "messaging.message.id": str(event_id),
                "kith.event.type": kind,
            },
            start_time=began_ns,
        )
        span.end(ended_ns)


def trace_of(meta: Mapping[str, str]) -> dict[str, str]:
    """What an event is to be told so that it goes on with the trace of one that has this `meta`."""
    return {TRACEPARENT: meta[TRACEPARENT]} if TRACEPARENT in meta else {}


@contextmanager
def within(traceparent: str | None) -> Generator[None]:
    """What is done here goes on with the trace of an event; with none where that keeps none."""
    token = attach(_context_of(traceparent))
    try:
        yield
    finally:
        detach(token)


@contextmanager
def calling(name: str, told: Mapping[str, str | int]) -> Generator[Span]:
    """The span of a call of another system, in the trace that is gone on with; it begins none."""
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        yield INVALID_SPAN
        return
    with _tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes=told,
        record_exception=False,  # its text may be personal
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:  # a limit of time is a cancellation
            failed(span, type(error).__qualname__)
            raise


def failed(span: Span, kind: str) -> None:
    """What the span is of went wrong: `kind` is the error's name or the answer's code."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def answered(span: Span, status: int) -> None:
    """What came back of a call over HTTP."""
    span.set_attribute("http.response.status_code", status)
    if status >= 400:  # noqa: PLR2004  # HTTP's own number
        failed(span, str(status))


def carried() -> dict[str, str]:
    """The headers by which whoever is called goes on with the trace."""
    traceparent = _traceparent_of(trace.get_current_span())
    return {} if traceparent is None else {TRACEPARENT: traceparent}


def show_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Let a line of the log name the trace that it belongs to."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _sampled(meta: str) -> Context | None:
    """The context that an event keeps, if it is one of a trace that is sampled."""
    if TRACEPARENT not in meta:
        return None
    context = _context_of(orjson.loads(meta).get(TRACEPARENT))
    return (
        context if trace.get_current_span(context).get_span_context().trace_flags.sampled else None
    )


def _context_of(traceparent: str | None) -> Context:
    """The context that it says; an empty one where it cannot be read."""
    return _W3C.extract({TRACEPARENT: traceparent} if traceparent else {}, Context())


def _traceparent_of(span: Span) -> str | None:
    """None where the span is none, or not sampled."""
    context = span.get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    ids = f"{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
    return f"00-{ids}-{context.trace_flags:02x}"
