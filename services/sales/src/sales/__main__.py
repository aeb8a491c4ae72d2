"""The command line of sales."""

from crm_chassis.cli import service_cli

from sales.bootstrap import MIGRATIONS, SERVICE, folded, recovering, run
from sales.settings import SalesSettings

app = service_cli(
    SERVICE,
    settings=SalesSettings,
    run=run,
    migrations=MIGRATIONS,
    recovering=recovering,
    folded=folded,
)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
