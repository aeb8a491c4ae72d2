"""A reaction: commands that follow from events, own or heard."""

from __future__ import annotations

from typing import Any

from crm_chassis.deciding.decider import Directive
from crm_chassis.deciding.following import Following


class Reaction(Following[Directive[Any, Any]]):
    """What the service itself does about an event. Streams that it opens: see `opened_by`."""
