"""`python -m crm_stack`: servers for anyone's own client, left running until `down`."""

import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import platformdirs
import typer
from rich.console import Console
from rich.table import Table

from crm_stack.errors import StackError
from crm_stack.given import Given
from crm_stack.stack import Stack

app = typer.Typer(
    help="Real PostgreSQL 18, Kafka 4.1 and Redis on this machine, from packages alone.",
    no_args_is_help=True,
    add_completion=False,
)
_Data = Annotated[Path | None, typer.Option("--data", help="Where the servers keep their data.")]


@app.command()
def up(data: _Data = None) -> None:
    """Start the servers and leave them running; starting them twice changes nothing."""
    with _told_in_one_line():
        typer.echo("Starting PostgreSQL, Kafka and Redis ...", err=True)
        stack = Stack(_folder(data)).up(detached=True)
        _show(stack)


@app.command()
def down(data: _Data = None) -> None:
    """Stop the servers; their data stays."""
    with _told_in_one_line():
        Stack.running_in(_folder(data)).down()
        typer.echo("Stopped.", err=True)


@app.command()
def status(data: _Data = None) -> None:
    """Show what runs and where; ends with 1 if not everything does."""
    with _told_in_one_line():
        stack = Stack.running_in(_folder(data))
        _show(stack)
        if not (stack.postgres.running and stack.kafka.running and stack.redis.running):
            raise typer.Exit(1)


@app.command()
def env(data: _Data = None) -> None:
    """Print the addresses as lines for a shell: eval "$(python -m crm_stack env)"."""
    with _told_in_one_line():
        for name, value in Stack.running_in(_folder(data)).environment().items():
            typer.echo(f"export {name}={shlex.quote(value)}")


def _folder(data: Path | None) -> Path:
    return data or platformdirs.user_state_path("kith") / "stack"


def _show(stack: Stack) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    place = stack.postgres.admin_url.rpartition("@")[2]
    for name, server, address in (
        ("PostgreSQL", stack.postgres, place),
        ("Kafka", stack.kafka, stack.kafka.bootstrap),
        ("Redis", stack.redis, stack.redis.url),
    ):
        state = "paused" if server.paused else "running" if server.running else "stopped"
        table.add_row(name, "given" if isinstance(server, Given) else state, address)
    Console(stderr=True).print(table)
    typer.echo(f"Data and logs in {stack.folder}", err=True)


@contextmanager
def _told_in_one_line() -> Generator[None]:
    try:
        yield
    except StackError as error:
        typer.echo(f"crm_stack: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app(prog_name="python -m crm_stack")
