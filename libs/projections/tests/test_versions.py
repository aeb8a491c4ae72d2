"""A publisher of a later release, and read models of this one, over a real log."""

from __future__ import annotations

import pytest
from crm_events.base import Event
from crm_events.downcasters import Downcaster
from crm_events.personal import SEALED, Personal
from crm_events.topics import Contract, Topic
from crm_projections.checkpoints import standing_at
from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.log.append import Log
from crm_store.log.entries import NewEvent, StreamAppend
from crm_store.log.tail import head
from probe import AT, Counted, Named
from summing import catch_up, digits_model, projector, sums_model


class NamedApart(Event, type="probe.thing.named", version=2):
    first: Personal[str] = SEALED
    last: Personal[str] = SEALED


LATER = Contract(
    (Topic("probe.things", "probe", (Counted, NamedApart)),),
    downcasters=(Downcaster(Named, lambda apart: Named(name=f"{apart.first} {apart.last}")),),
)


@pytest.fixture
def name(probe):
    """Append a name of version 2 for a new customer, as a release under a contract does."""

    async def append(contract: Contract) -> None:
        customer = new_id()
        await probe.mint(customer)
        log = Log(
            pool=probe.pool,
            contract=contract,
            keyring=probe.keyring,
            clock=utc_now,
            wakeups=probe.wakeups,
        )
        event = NewEvent(NamedApart(first="Ada", last="Lovelace"), new_id(), AT, customer)
        await log.append(streams=[StreamAppend(customer, 0, (event,))])

    return append


@pytest.mark.usefixtures("tables")
async def test_a_log_told_to_write_version_1_writes_what_this_release_folds(probe, name):
    await name(LATER.writing({"probe.thing.named": 1}))

    await catch_up(projector(probe, sums_model()))

    stored = await probe.pool.fetchrow("select schema_version, data::text as data from log")
    assert stored["schema_version"] == 1
    assert '"Ada' not in stored["data"]
    assert await probe.pool.fetchval("select name from sums") == "Ada Lovelace"


@pytest.mark.usefixtures("tables")
async def test_an_unknown_version_stops_the_models_that_name_its_type_and_no_other(probe, name):
    runner = projector(probe, sums_model(), digits_model())
    await probe.count(new_id(), 1)
    await catch_up(runner)
    where = await standing_at(probe.pool, "sums", 1)
    await name(LATER)
    await probe.count(new_id(), 2)

    await catch_up(runner)

    assert await standing_at(probe.pool, "sums", 1) == where
    assert await standing_at(probe.pool, "digits", 1) == await head(probe.pool)
    assert await probe.pool.fetchval("select count(*) from parked_key") == 0
    stopped = await probe.pool.fetchval(
        "select stopped from projection_checkpoint where name = 'sums'"
    )
    assert stopped.endswith(
        "version 2 of probe.thing.named cannot be read here: deploy the reader first"
    )
