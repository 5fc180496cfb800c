"""What the parts are measured with: orders, stages over recording stores, and what is made of the series."""

from itertools import pairwise

import msgspec
import pytest

from loadtest.bench.figures import Sample, Series
from loadtest.bench.orders import HOT_SKU, SKUS, Orders, spread_out
from loadtest.bench.parts_run import IN_SUM, NAMES, TAKEN_AT_ONCE, WHOLE, PartsReport, chosen, records_of
from loadtest.bench.stages import RecordingLog, Stages, answered, bookings, decoded, reservations
from streams.errors import Refused
from streams.messages import Submission


def test_orders_are_valid_and_differ() -> None:
    """Each is a submission by the schema, under the key that it should have, and no two are the same order."""
    orders = Orders("t")
    made = orders.make(500) + orders.make(500, lines=5) + orders.make(500, hot=True, promotion_id="flash")
    assert len({order.key for order in made}) == 1_500
    for order in made:
        read = msgspec.json.decode(order.value, type=Submission)
        assert order.key == f"{read.channel}:{read.submission_id}".encode()
        assert order.units == sum(line.qty for line in read.lines)


def test_orders_have_the_shape_that_was_asked_for() -> None:
    """One line is some 220 bytes over 1,000 SKUs, five lines are five SKUs, hot is one SKU, times never go back."""
    orders = Orders("t")
    one = [msgspec.json.decode(order.value, type=Submission) for order in orders.make(3_000)]
    assert len({order.lines[0].sku for order in one}) == SKUS
    assert all(earlier.submitted_at <= later.submitted_at for earlier, later in pairwise(one))
    assert 180 < len(orders.make(1)[0].value) < 270
    five = msgspec.json.decode(orders.make(1, lines=5)[0].value, type=Submission)
    assert len({line.sku for line in five.lines}) == 5
    hot = msgspec.json.decode(orders.make(1, hot=True, promotion_id="flash")[0].value, type=Submission)
    assert (hot.lines[0].sku, hot.promotion_id) == (HOT_SKU, "flash")


def test_orders_are_spread_evenly() -> None:
    """No partition has more than one order above another, and none is lost."""
    lanes = spread_out(Orders("t").make(100), 12)
    assert sorted(map(len, lanes)) == [8] * 8 + [9] * 4


async def test_stages_hand_on_every_order() -> None:
    """What is measured is what the pipeline does: all orders reach the stock, the ledger and the log."""
    made = Orders("t").make(250)
    assert [len(batch.intents) for batch in decoded(made, 100)] == [100, 100, 50]
    asked = await reservations(made, 100)
    assert [r.key for batch in asked for r in batch] == [
        i.reservation.key for b in decoded(made, 100) for i in b.intents
    ]
    assert sum(map(len, await bookings(made, 100))) == 250
    stages = Stages(log=(log := RecordingLog()))
    batches = await answered(made, 100)
    for batch in batches:
        await stages.announce(batch)
    assert sum(map(len, log.asked)) == 250
    assert all(chunk.acknowledged == 1 for batch in batches for chunk in batch.chunks)  # type: ignore[attr-defined]


def test_names_choose_parts_in_order() -> None:
    """Named parts are measured in the order of all, and a name that is none is refused with those that are."""
    assert chosen([]) == list(NAMES)
    assert chosen(["whole", "decode"]) == ["decode", "whole"]
    with pytest.raises(Refused, match=r"no part decoed; there are fetch, .*whole"):
        chosen(["decoed"])


def test_stock_faust_takes_whole_batches() -> None:
    """An incomplete take would wait for its time to run out, and be measured as slow."""
    for orders in (1_000, 4_000, 20_000, 33_333):
        assert records_of("faust", orders) % TAKEN_AT_ONCE == 0
        assert records_of("faust", orders) > 0


def test_the_whole_is_compared_with_what_it_consists_of() -> None:
    """Six parts of 10 µs each, and a whole of 90 µs: one and a half times their sum."""
    part = Sample(1_000, 0.010, 0.004, {"redis": 0.006})
    whole = Sample(1_000, 0.090, 0.040, {"redis": 0.050})
    report = PartsReport({name: Series(name, [part]) for name in IN_SUM} | {WHOLE: Series(WHOLE, [whole])})
    ratios = report.ratios()
    assert ratios["whole_per_sum_of_parts_wall"] == 1.5
    assert ratios["whole_per_sum_of_parts_cpu"] == 1.5
    assert "chunks_per_faust_rate" not in ratios
