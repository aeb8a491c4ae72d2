"""The events that golden examples are made of: one of each class, with every field filled."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from crm_events import analytics, contacts, sales
from crm_events.examples import MEMBER, SUBJECT
from crm_events.money import Money

if TYPE_CHECKING:
    from crm_events.base import Event

_CUSTOMER: Final = UUID(SUBJECT)
_OTHER: Final = UUID("01998a3c-7d00-7000-8000-00000000beef")
_OWNER: Final = UUID(MEMBER)
_HIT: Final[dict[str, Any]] = {
    "customer_id": _CUSTOMER,
    "message_id": "ajs-next-1758800000000-5f3c",
    "source": "web-shop",
    "context": {
        "ip": "203.0.113.7",
        "userAgent": "Mozilla/5.0",
        "campaign": {"name": "spring", "medium": None},
    },
}
_ORDER: Final[dict[str, Any]] = {
    **_HIT,
    "order_id": "A-1001",
    "total": Money(amount=Decimal("59.80"), currency="EUR"),
    "products": (
        contacts.Product(
            product_id="p-17",
            sku="SKU-17",
            name="Enamel cup",
            category="kitchen",
            price=Decimal("29.90"),
            quantity=Decimal(2),
        ),
    ),
    "properties": {"coupon": "HELLO", "note": "Bitte an der Tür abgeben ☂", "gift": None},
}
_MAIL: Final = contacts.Identifier(
    namespace=contacts.Namespace.MAIL, value="ada@example.org", given="Ada@Example.org"
)

_DEAL: Final[dict[str, Any]] = {
    "deal_id": UUID("01998a3c-7d00-7000-8000-00000000dea1"),
    "customer_id": _CUSTOMER,
}
_TASK: Final[dict[str, Any]] = {
    "task_id": UUID("01998a3c-7d00-5000-8000-000000007a51"),
    "customer_id": _CUSTOMER,
}
_EUROS: Final = Money(amount=Decimal("1250.00"), currency="EUR")

SAMPLES: Final[tuple[Event, ...]] = (
    contacts.PersonRegistered(
        customer_id=_CUSTOMER,
        identifiers=(
            _MAIL,
            contacts.Identifier(namespace=contacts.Namespace.USER, value="u-1", given="u-1"),
        ),
        profile={"name": "Ada Example", "city": "Zürich", "phone": None, "a/b~c": [1, 2.5, True]},
    ),
    contacts.PersonChanged(
        customer_id=_CUSTOMER,
        fields=("name", "phone", "other"),
        profile={"name": "Ada Sample", "phone": None, "shoe_size": 39},
    ),
    contacts.PersonIdentified(customer_id=_CUSTOMER, identifier=_MAIL),
    contacts.PersonLinked(
        customer_id=_CUSTOMER, into=_OTHER, reason=contacts.LinkReason.IDENTIFIED
    ),
    contacts.PersonUnlinked(customer_id=_CUSTOMER, was_into=_OTHER),
    contacts.PageViewed(
        **_HIT,
        name="Home",
        properties={"url": "https://shop.example.org/", "title": "Home", "referrer": ""},
    ),
    contacts.ScreenViewed(**_HIT, name="Basket", properties={"variant": "b"}),
    contacts.EventTracked(**_HIT, name="Product Viewed", properties={"product_id": "p-17"}),
    contacts.TraitsReceived(**_HIT, properties={"email": "Ada@Example.org", "phone": None}),
    contacts.GroupJoined(**_HIT, group_id="acme", properties={"name": "Acme", "employees": 7}),
    contacts.IdAliased(**_HIT, properties={"previousId": "anonymous-5f3c"}),
    contacts.OrderCompleted(**_ORDER),
    contacts.OrderRefunded(**_ORDER),
    contacts.MemberRegistered(member_id=_OWNER, name="Bob Example", mail="bob@kith.example"),
    contacts.MemberChanged(
        member_id=_OWNER, fields=("name", "mail"), name="Bob Sample", mail="bob.sample@kith.example"
    ),
    contacts.MemberDeactivated(member_id=_OWNER),
    contacts.MemberReactivated(member_id=_OWNER),
    analytics.ScoreMoved(
        customer_id=_CUSTOMER,
        model="engagement",
        model_version=1,
        s=3.25,
        s_negative=None,
        landmark=datetime(2020, 1, 1, tzinfo=UTC),
        half_life_seconds=2_592_000.0,
        counted=12,
        last_fact_at=datetime(2025, 9, 25, 11, 33, 20, 123456, tzinfo=UTC),
    ),
    sales.DealOpened(
        **_DEAL,
        pipeline="sales",
        stage="qualified",
        title="Cups for Ada's café in Zürich",
        amount=_EUROS,
        expected_close=date(2025, 12, 31),
        owner_id=_OWNER,
    ),
    sales.DealStageChanged(**_DEAL, pipeline="sales", from_stage="qualified", stage="proposal"),
    sales.DealAmountChanged(**_DEAL, amount=_EUROS),
    sales.DealCloseDateChanged(**_DEAL, expected_close=date(2026, 1, 31)),
    sales.DealProductsChanged(
        **_DEAL,
        products=(
            sales.DealProduct(
                product_id="p-17",
                quantity=Decimal("2.5"),
                unit_price=Money(amount=Decimal("500.00"), currency="EUR"),
                amount=_EUROS,
            ),
        ),
        amount=_EUROS,
    ),
    sales.DealWon(**_DEAL, amount=_EUROS, won_on=date(2025, 12, 30)),
    sales.DealLost(**_DEAL, reason="price", note="Ada found cheaper cups."),
    sales.DealReopened(**_DEAL, stage="proposal"),
    sales.DealReassigned(**_DEAL, owner_id=_OTHER, was_owner_id=_OWNER),
    sales.DealRotted(
        **_DEAL,
        owner_id=_OWNER,
        pipeline="sales",
        stage="qualified",
        since=datetime(2025, 9, 11, 11, 33, 20, 123456, tzinfo=UTC),
    ),
    sales.TaskOpened(
        **_TASK,
        deal_id=_DEAL["deal_id"],
        owner_id=_OWNER,
        kind="rotting-deal",
        due_on=date(2025, 9, 26),
    ),
    sales.TaskDone(**_TASK),
    sales.TaskReassigned(**_TASK, owner_id=_OTHER, was_owner_id=_OWNER),
)
