"""The command line of analytics."""

from crm_chassis.cli import service_cli

from analytics.bootstrap import MIGRATIONS, SERVICE, run
from analytics.settings import AnalyticsSettings

app = service_cli(SERVICE, settings=AnalyticsSettings, run=run, migrations=MIGRATIONS)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
