"""What the services export of their traces, received as any OTLP/HTTP receiver would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from receiving import serving


@dataclass(frozen=True)
class Told:
    """A span, by the service that told of it; ids in hex."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str


@dataclass
class Spans:
    """Everything that came."""

    url: str = ""
    came: list[Told] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What a service is told, to trace the requests whose callers do and no others."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def of(self, trace_id: str) -> dict[tuple[str, str], Told]:
        """The spans of a trace by service and name."""
        found = [one for one in self.came if one.trace_id == trace_id]
        return {(one.service, one.name): one for one in found}

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.came += [
                    Told(
                        told["service.name"],
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                    )
                    for span in scope.spans
                ]
        self.bodies.append(body)


@contextmanager
def span_receiver() -> Iterator[Spans]:
    spans = Spans()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # as the server calls it
            assert self.path == "/v1/traces"
            spans.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as port:
        spans.url = f"http://127.0.0.1:{port}"
        yield spans
