"""Every fault there is, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fault.faults import (
    deciding,
    effects,
    full_disk,
    groups,
    kill_points,
    leaders,
    network,
    poison,
    processes,
    rebuilds,
    records,
    restore,
    servers,
    topics,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fault.fault import Fault

FAULTS: Final[tuple[Fault, ...]] = (
    *processes.FAULTS,
    *kill_points.FAULTS,
    *servers.FAULTS,
    *full_disk.FAULTS,
    *groups.FAULTS,
    *network.FAULTS,
    *topics.FAULTS,
    *records.FAULTS,
    *poison.FAULTS,
    *restore.FAULTS,
    *leaders.FAULTS,
    *effects.FAULTS,
    *deciding.FAULTS,
    *rebuilds.FAULTS,
)


def chosen(names: str) -> Sequence[Fault]:
    """The faults of these names, separated by commas; "relay." means all that begin so.

    Raises:
        LookupError: there is none of such a name.
    """
    if not names:
        return FAULTS
    found: list[Fault] = []
    for name in names.split(","):
        named = [
            fault
            for fault in FAULTS
            if fault.name == name or (name.endswith(".") and fault.name.startswith(name))
        ]
        if not named:
            raise LookupError(f"there is no fault {name!r}: {', '.join(f.name for f in FAULTS)}")
        found += named
    return found
