"""The command line of contacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from crm_chassis import apikeys
from crm_chassis.cli import service_cli
from crm_chassis.commands import EXIT_UNSAFE, with_database

from contacts.bootstrap import MIGRATIONS, SERVICE, folded, recovering, run
from contacts.settings import ContactsSettings

if TYPE_CHECKING:
    import asyncpg

app = service_cli(
    SERVICE,
    settings=ContactsSettings,
    run=run,
    migrations=MIGRATIONS,
    recovering=recovering,
    folded=folded,
)
write_keys = typer.Typer(no_args_is_help=True)
app.add_typer(write_keys, name="write-keys", help="Who may send events in.")


@write_keys.command(name="create", help="Make a write key and show it, this once.")
def create_write_key(
    source: Annotated[str, typer.Argument(help="The site or app; its events bear this name.")],
) -> None:
    key = apikeys.new_write_key()

    async def keep(_: ContactsSettings, pool: asyncpg.Pool) -> None:
        try:
            await apikeys.keep_key(pool, key, name=source, scopes=[apikeys.COLLECT])
        except apikeys.BadKeyNameError as bad:
            typer.echo(str(bad), err=True)
            raise typer.Exit(EXIT_UNSAFE) from None

    with_database(SERVICE, ContactsSettings, keep)
    typer.echo(key)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
