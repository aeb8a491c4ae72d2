"""One system for all journeys and faults, on servers of its own: tests kill what they like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from crm_stack.stack import Stack
from spans import span_receiver
from system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory) -> Iterator[System]:
    with ExitStack() as cleanup:
        stack = cleanup.enter_context(Stack())
        spans = cleanup.enter_context(span_receiver())
        yield System.on(stack, tmp_path_factory.mktemp("logs"), spans).start(cleanup)
