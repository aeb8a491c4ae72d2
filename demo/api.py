"""The three APIs as an internal app would call them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from demo.running import Services

TIMEOUT_SECONDS: Final = 30.0
PAGE: Final = 1_000


@dataclass
class Api:
    """Clients with a key each, and the write key of a shop."""

    contacts: httpx.Client
    analytics: httpx.Client
    sales: httpx.Client
    contacts_key: str
    analytics_key: str
    write_key: str

    @classmethod
    def of(cls, services: Services) -> Self:
        """Make keys with the services' own commands."""
        contacts, analytics = services.contacts, services.analytics
        write_key = contacts.command("write-keys", "create", "shop")
        contacts_key = contacts.command("api-keys", "create", "demo", "--scope", "people:read")
        analytics_key = analytics.command(
            "api-keys", "create", "demo", "--scope", "scores:read", "--scope", "buying:read"
        )
        sales_key = services.sales.command(
            "api-keys", "create", "demo", "--scope", "deals:read", "--scope", "deals:write"
        )
        return cls(
            _client(contacts.url, contacts_key),
            _client(analytics.url, analytics_key),
            _client(services.sales.url, sales_key),
            contacts_key,
            analytics_key,
            write_key,
        )

    def customer_id(self, user: str) -> str:
        """Whose user id this is."""
        found = self._get(self.contacts, "/customers/lookup", namespace="user", value=user)
        return str(found["customer_id"])

    def customer_file(self, customer_id: str) -> dict[str, Any]:
        return self._get(self.contacts, f"/customers/{customer_id}")

    def user(self, customer_id: str) -> str:
        """The user id that the shop knows a customer by."""
        known = self.customer_file(customer_id)["identifiers"]
        return next(str(one["value"]) for one in known if one["namespace"] == "user")

    def leaders(self, limit: int) -> list[dict[str, Any]]:
        return list(self._get(self.analytics, "/leaders", limit=limit)["items"])

    def ranked_until(self) -> datetime:
        """What was folded by then is in the answer of who leads."""
        told = self._get(self.analytics, "/leaders", limit=1)
        return datetime.fromisoformat(told["at"]) - timedelta(seconds=told["owed_seconds"])

    def file_age_seconds(self) -> float:
        """Age of the oldest event that the best customer's file lacks; 1 while nobody leads."""
        best = self.leaders(1)
        if not best:
            return 1.0
        return float(self.customer_file(best[0]["customer_id"])["freshness"]["age_seconds"])

    def every_leader(self) -> Iterator[dict[str, Any]]:
        yield from self._pages("/leaders")

    def every_buyer(self) -> Iterator[dict[str, Any]]:
        """One row per customer id and currency."""
        yield from self._pages("/buying")

    def score(self, customer_id: str, **asked: str | int | bool) -> dict[str, Any]:
        return self._get(self.analytics, f"/customers/{customer_id}/score", **asked)

    def course(self, customer_id: str, **asked: str) -> list[dict[str, Any]]:
        """One score through time, a point per step."""
        found = self._get(self.analytics, f"/customers/{customer_id}/score/history", **asked)
        return list(found["points"])

    def command(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        """What sales answers to a command."""
        return self.sales.request(method, path, json=body)

    def pipeline(self, name: str) -> dict[str, Any]:
        """A pipeline as data, and its stages in order."""
        pipelines: list[dict[str, Any]] = self.sales.get("/pipelines").raise_for_status().json()
        return next(one for one in pipelines if one["name"] == name)

    def board(self, name: str, *, after: str) -> list[dict[str, Any]]:
        """The stages of a pipeline, once what is at that position of the log is in them."""
        return list(self._get(self.sales, f"/pipelines/{name}/board", after=after)["stages"])

    def age_seconds(self) -> float:
        """Age of the oldest event that a read model of analytics lacks."""
        answer = self.analytics.get("/freshness").raise_for_status()
        return max((float(model["age_seconds"]) for model in answer.json()), default=0.0)

    def folded(self, projection: str) -> int:
        """How many events a read model of analytics has folded since its process started."""
        return int(self._metric(self.analytics, "kith_projection_events_total", projection))

    def gauge(self, name: str) -> float:
        """The sum of a metric over its labels, all services together."""
        clients = (self.contacts, self.analytics, self.sales)
        return sum(self._metric(client, name) for client in clients)

    def _metric(self, client: httpx.Client, name: str, label: str = "") -> float:
        lines = client.get("/metrics").raise_for_status().text.splitlines()
        found = [line for line in lines if line.startswith(name) and label in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            page = self._get(self.analytics, path, limit=PAGE, **cursor)
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    def _get(self, client: httpx.Client, path: str, **query: str | int | bool) -> dict[str, Any]:
        found: dict[str, Any] = client.get(path, params=query).raise_for_status().json()
        return found


def _client(url: str, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_SECONDS
    )
