from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from analytics.engagement.model import load_model
from crm_events.contacts import OrderCompleted
from crm_events.topics import CONTRACT

from tests.bench.heard import expected_alike, weight_of


def test_purchases_are_worth_half_after_a_half_life_whatever_their_order():
    model = load_model(None, CONTRACT)
    half_life, weight = timedelta(days=model.half_life_days), weight_of(model, OrderCompleted)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ada, bob = UUID(int=1), UUID(int=2)

    scores = expected_alike([(ada, at), (bob, at - half_life), (ada, at - half_life)], model)

    def worth(who):
        landed = (at - model.landmark) / half_life * math.log(2)
        return math.exp(scores[who].s - landed)

    assert (scores[ada].counted, scores[bob].counted) == (2, 1)
    assert worth(ada) == pytest.approx(1.5 * weight)
    assert worth(bob) == pytest.approx(0.5 * weight)
