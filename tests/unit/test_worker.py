"""What the workers do beside reading chunks."""

import logging
from dataclasses import replace

import pytest
from builders import RETENTION_S, promotion, world

from agents.roles import ROLES, group
from agents.worker import advance, intake_app, lifecycle_app, notify_app
from streams.core.books import PromotionRecord, PromotionState
from streams.settings import Settings
from streams.stores.stock_fake import FakeStock


async def test_promotions_wait_beside_a_lost_stock(caplog: pytest.LogCaptureFixture) -> None:
    """A stock of another epoch is told of and left alone; the worker lives, and the promotion stays to be finished."""
    made = await world()
    lost = FakeStock(dedupe_retention_s=RETENTION_S)
    await lost.install_epoch(99)
    asked = PromotionRecord(promotion(), PromotionState.OPENING)
    await made.ledger.save_promotion(asked)
    parts = replace(made.parts(), stock=lost)
    with caplog.at_level(logging.ERROR, logger="agents.worker"):
        await advance(parts)
    assert "promotions" in caplog.text
    assert await made.ledger.promotions() == [asked]


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_a_group_and_an_app_of_its_own(role: str) -> None:
    """Roles read in consumer groups of their own; what names the group is what the audit looks at."""
    app, _ = {"intake": intake_app, "lifecycle": lifecycle_app, "notify": notify_app}[role](Settings())
    assert app.conf.id == group(role)
    assert [agent for agent in app.agents if role in agent]
