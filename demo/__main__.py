"""`make demo`: real purchase history through a public SDK into everything, and the answers."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import psutil
import typer
from crm_stack.errors import StackError
from crm_stack.stack import Stack
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo.answers import show_board, show_course, show_explanation, show_file, show_leaders
from demo.api import Api
from demo.check import check
from demo.deals import PIPELINE, SalesError, deals_with, work
from demo.purchases import moved_by, read_purchases
from demo.running import NotReadyError, Services
from demo.stream import NotDeliveredError, Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from demo.check import Findings
    from demo.purchases import Purchase

SCORED_SECONDS: Final = 120.0
LOOK_EVERY_SECONDS: Final = 0.25

console = Console(highlight=False)


def main(
    *,
    full: Annotated[bool, typer.Option(help="All 69,659 purchases of 23,570 customers.")] = False,
    verify: Annotated[bool, typer.Option("--check", help="Compare with the input, end.")] = False,
) -> None:
    """Start everything, stream, show, and stay until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as cleanup:
            differences = _demo(cleanup, full=full, verify=verify)
    except (StackError, NotReadyError, NotDeliveredError, SalesError) as error:
        console.print(f"[red]{error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("\nStopped, and nothing is left running.")
        return
    raise typer.Exit(1 if differences else 0)


def _demo(cleanup: contextlib.ExitStack, *, full: bool, verify: bool) -> list[str]:
    began = time.monotonic()
    moved = moved_by(datetime.now(UTC).date())  # noqa: TID251  # the demo's own edge
    purchases = read_purchases(whole=full, moved=moved)
    with console.status("PostgreSQL 18 and Kafka 4.1 are starting ..."):
        stack = cleanup.enter_context(Stack())
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kith-demo-")))
    with console.status("contacts, analytics and sales are starting ..."):
        services = cleanup.enter_context(Services.on(stack, folder))
        api = Api.of(services)
    console.print(
        f"Up after {time.monotonic() - began:.0f} s. {len(purchases):,} CDNOW purchases of "
        f"{len({one.customer for one in purchases}):,} customers, every date moved by "
        f"{moved.days} days so that the last one was yesterday."
    )
    _stream(api, services, purchases)
    now = datetime.now(UTC)  # noqa: TID251  # as above
    best = show_leaders(console, api)[0]["customer_id"]
    show_explanation(console, api, best)
    show_file(console, api, best)
    show_course(console, api, best, now)
    deals = deals_with(purchases)
    with console.status(f"{len(deals)} deals are opened, moved and closed ..."):
        board = api.board(PIPELINE, after=work(api, deals, today=now.date()))
    show_board(console, board, deals)
    console.print(
        f"Answered {time.monotonic() - began:.0f} s after the start; "
        f"{_megabytes():,} MB in all, servers included."
    )
    if verify:
        won = sum(deal.status == "won" for deal in deals)
        _rest(api, folded=len(purchases) + won, deadline=time.monotonic() + SCORED_SECONDS)
        return _shown(check(api, purchases, deals, board))
    _urls(services, api, best)
    threading.Event().wait()
    return []


def _stream(api: Api, services: Services, purchases: Sequence[Purchase]) -> None:
    """Send with the SDK; show how many are in, how fast, and how fresh the scores are."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>6} events/s   scores {task.fields[age]:.1f} s behind"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("scored", total=len(purchases), rate=0, age=0.0)
        failed: list[BaseException] = []
        sending = threading.Thread(
            target=_send, args=(services, api, purchases, failed), daemon=True
        )
        began = time.monotonic()
        sending.start()
        deadline = began + SCORED_SECONDS + len(purchases) / 200
        scored = 0
        while scored < len(purchases):
            if failed:
                raise failed[0]
            if time.monotonic() > deadline:
                raise NotDeliveredError(f"only {scored:,} of {len(purchases):,} were scored")
            time.sleep(LOOK_EVERY_SECONDS)  # noqa: TID251  # the pace of a progress bar
            scored = api.folded("engagement")
            rate = round(scored / (time.monotonic() - began))
            progress.update(task, completed=scored, rate=f"{rate:,}", age=api.age_seconds())
        sending.join()
        _rest(api, folded=len(purchases), deadline=deadline)


def _rest(api: Api, *, folded: int, deadline: float) -> None:
    """Wait until so many events are in the scores, and those in leaders and customer files."""
    _until(lambda: api.folded("engagement") >= folded, deadline)
    now = datetime.now(UTC)  # noqa: TID251  # the demo's own edge
    _until(lambda: api.ranked_until() >= now and api.file_age_seconds() == 0, deadline)


def _until(holds: Callable[[], bool], deadline: float) -> None:
    while not holds():
        if time.monotonic() > deadline:
            raise NotDeliveredError("leaders or customer files did not come to rest")
        time.sleep(LOOK_EVERY_SECONDS)  # noqa: TID251  # leaders are ranked within 2 s


def _send(
    services: Services, api: Api, purchases: Sequence[Purchase], failed: list[BaseException]
) -> None:
    try:
        Sender.to(services.contacts.url, api.write_key).send(purchases, sent=lambda: None)
    except NotDeliveredError as error:
        failed.append(error)


def _shown(findings: Findings) -> list[str]:
    for line in findings.compared:
        console.print(f"  checked  {line}")
    for line in findings.differences:
        console.print(f"  [red]differs[/red]  {line}")
    verdict = "[red]Something differs." if findings.differences else "[green]Everything agrees."
    console.print(verdict)
    return findings.differences


def _urls(services: Services, api: Api, best: str) -> None:
    contacts, analytics, sales = (service.url for service in services.all)
    console.print(
        f"""Look around (Ctrl-C ends everything):
  live leaders    {analytics}/leaders.html#key={api.analytics_key}
  customer file   {contacts}/customers/{best}/file.html#key={api.contacts_key}
  OpenAPI         {contacts}/docs   {analytics}/docs   {sales}/docs
  send events to  {contacts}  with the write key {api.write_key}
""",
        soft_wrap=True,
    )


def _megabytes() -> int:
    """Resident memory of this process and all it started; shared pages are counted once each."""
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total // 2**20


if __name__ == "__main__":
    sys.exit(typer.run(main))
