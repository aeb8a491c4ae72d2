"""The services as processes on databases of the run, as an operator would start them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from demo.running import Service, free_port
from tests.bench.bench import Bench
from tests.bench.product import KEK


def service(bench: Bench, name: str, database: str, *, role: str, **settings: str) -> Service:
    """`contacts` or `analytics` in this role; further settings by their names without prefix."""
    key = base64.b64encode(KEK.material).decode()
    port = free_port()
    told = {
        "DATABASE_URL": database,
        "KAFKA_BOOTSTRAP": bench.kafka,
        "KAFKA_REPLICATION_FACTOR": "1",
        "KAFKA_MIN_INSYNC": "1",
        "HTTP_PORT": str(port),
        "KEKS": f"{KEK.kek_id}:{key}",
        "INSTANCE": "1",
        "LOG_FORMAT": "json",
        **({"DIGEST_KEY": key} if name == "contacts" else {}),
        **settings,
    }
    environment = {f"{name.upper()}_{setting}": value for setting, value in told.items()}
    return Service(name, environment, port, bench.folder / f"{name}-{role}-{port}.log", role)


@asynccontextmanager
async def running(bench: Bench, **services: Service) -> AsyncIterator[None]:
    """All of them ready, each watched under its name here, and stopped at the end."""
    started: dict[str, int] = {}
    try:
        for part, one in services.items():
            one.start()
            assert one.process is not None
            started[part] = one.process.pid
        for one in services.values():
            await asyncio.to_thread(one.wait_ready)
        with bench.watch(**started):
            yield
    finally:
        for one in services.values():
            await asyncio.to_thread(one.stop)
