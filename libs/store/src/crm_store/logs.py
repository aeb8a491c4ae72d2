"""Logs: structlog and the standard library's in one stream, JSON lines or readable, no values."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Final, Literal, cast

import asyncpg
import structlog
from pydantic import ValidationError

from crm_store.errors import sqlstate
from crm_store.tracing import show_trace

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

LONGEST_CHAIN: Final = 5
QUIET: Final = {
    "aiokafka": logging.ERROR,  # it warns once a second while a broker is away
    "faststream": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,  # one canonical line per request is ours
    "httpx": logging.WARNING,
    "opentelemetry": logging.ERROR,  # it warns at each try while its receiver is away
}


def configure_logs(service: str, log_format: Literal["auto", "json", "console"] = "auto") -> None:
    """Send every log line to standard error, one way. Called once, at the start of a process."""
    structlog.contextvars.bind_contextvars(service=service)
    plain = sys.stderr.isatty() if log_format == "auto" else log_format == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        show_trace,
        show_error,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if plain
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


def show_error(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turn `exc_info` into a stack without the values that error texts like to quote."""
    told: object = event.pop("exc_info", None)
    if isinstance(told, tuple):  # as the standard library has it
        told = cast("tuple[object, ...]", told)[1]
    elif told is True:
        told = sys.exc_info()[1]
    if isinstance(told, BaseException):
        event["exception"] = stack_of(told)
    return event


def stack_of(error: BaseException) -> str:
    """The stack of an error and of its causes, with `safe_text` for their messages."""
    chain: list[str] = []
    current: BaseException | None = error
    while current is not None and len(chain) < LONGEST_CHAIN:
        lines = "".join(traceback.format_tb(current.__traceback__))
        chain.append(f"{lines}{type(current).__qualname__}: {safe_text(current)}")
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return "\n\ncaused by\n".join(chain)


def safe_text(error: BaseException) -> str:
    """What an error says, without the data it says it about: that may be personal."""
    match error:
        case ValidationError():
            found = error.errors(include_input=False, include_url=False, include_context=False)
            return "; ".join(f"{'.'.join(map(str, each['loc']))} {each['type']}" for each in found)
        case asyncpg.PostgresError(sqlstate=str(state)):
            # Class 22 quotes values, 23 does in its detail, which is not shown for any.
            said = "" if state.startswith("22") else cast("str", error.args[0])
            return f"SQLSTATE {state} {said}".rstrip()
        case BaseExceptionGroup():
            parts = cast("tuple[BaseException, ...]", error.exceptions)
            return "; ".join(f"{type(each).__qualname__}: {safe_text(each)}" for each in parts)
        case _ if type(error).__module__.startswith("sqlalchemy."):
            return f"SQLSTATE {sqlstate(error)}"  # its text quotes the parameters
        case _:
            return str(error)
