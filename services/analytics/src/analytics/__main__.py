"""The command line of analytics."""

from crm_chassis.cli import service_cli

from analytics.bootstrap import MIGRATIONS, SERVICE, folded, recovering, run
from analytics.settings import AnalyticsSettings

app = service_cli(
    SERVICE,
    settings=AnalyticsSettings,
    run=run,
    migrations=MIGRATIONS,
    recovering=recovering,
    folded=folded,
)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
