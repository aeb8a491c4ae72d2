from __future__ import annotations

import json
import logging

import asyncpg
import pytest
import structlog
from crm_store.logs import configure_logs, safe_text, stack_of
from pydantic import BaseModel, ValidationError

GIVEN = "ada@example.org"


class Person(BaseModel):
    age: int


@pytest.fixture(autouse=True)
def as_before():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def refused(state: str, message: str, detail: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new(
        {"C": state, "M": message, "D": detail, "S": "ERROR", "V": "ERROR"}
    )


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Person.model_validate({"age": GIVEN})
    return caught.value


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (invalid(), "age int_parsing"),
        (refused("23505", "duplicate key", "Key (mail)=(ada@example.org)"), "SQLSTATE 23505"),
        (refused("22P02", 'bad uuid: "ada@example.org"', ""), "SQLSTATE 22P02"),
        (ExceptionGroup("two", [invalid(), KeyError("x")]), "age int_parsing"),
    ],
)
def test_the_data_an_error_quotes_is_not_logged(error, says):
    assert says in safe_text(error)
    assert "ada@" not in safe_text(error)
    assert "ada@" not in stack_of(error)


def test_ours_and_the_libraries_lines_are_json_with_the_stack_in_one_field(capsys):
    configure_logs("probe", "json")

    structlog.stdlib.get_logger("ours").info("page.folded", rows=3)
    error = ValueError("no")
    error.__cause__ = KeyError("cause")
    logging.getLogger("theirs").error("failed %s", "twice", exc_info=error)

    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["rows"], ours["service"]) == ("page.folded", 3, "probe")
    assert (theirs["event"], theirs["logger"]) == ("failed twice", "theirs")
    assert "ValueError: no" in theirs["exception"]
    assert "KeyError: 'cause'" in theirs["exception"]


def test_a_terminal_gets_readable_lines(capsys):
    configure_logs("probe", "console")

    structlog.stdlib.get_logger("ours").error("it.failed", exc_info=ValueError("no"))

    told = capsys.readouterr().err
    assert "it.failed" in told
    assert "ValueError: no" in told
