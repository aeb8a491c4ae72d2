"""The command line of analytics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from crm_chassis.cli import EXIT_UNSAFE, service_cli, with_database
from crm_chassis.relay.republish import NothingToRepublishError, republish

from analytics.bootstrap import MIGRATIONS, SERVICE, run
from analytics.settings import AnalyticsSettings

if TYPE_CHECKING:
    import asyncpg

app = service_cli(SERVICE, settings=AnalyticsSettings, run=run, migrations=MIGRATIONS)


@app.command(name="republish", help="Send a topic again, with the numbers it had.")
def republish_topic(
    topic: Annotated[str, typer.Option(help='Such as "analytics.scores".')],
    from_sequence: Annotated[int | None, typer.Option("--from", min=1)] = None,
) -> None:
    async def rewind(_: AnalyticsSettings, pool: asyncpg.Pool) -> None:
        try:
            rewound = await republish(pool, topic, from_sequence=from_sequence)
        except NothingToRepublishError as nothing:
            typer.echo(str(nothing), err=True)
            raise typer.Exit(EXIT_UNSAFE) from None
        typer.echo(f"{topic} is sent again: {rewound}")

    with_database(SERVICE, AnalyticsSettings, rewind)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
