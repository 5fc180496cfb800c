"""Surges are planned so that what comes out can be checked: counts, keys, stock, and the same plan every time."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from loadtest import planfile
from loadtest.mixes import HOT_SKU, MIXES, Mix, make_plan
from loadtest.plan import NUMBER_DIGITS, Kind, Plan, Planned, finish
from streams.core.decode import MessageDecoder
from streams.errors import Refused
from streams.messages import Submission
from streams.stores.partitioner import partition_of

ORDERS = 1_000
PARTITIONS = 12
STAMP = datetime(2026, 11, 11, tzinfo=UTC).isoformat(timespec="milliseconds").encode()


@pytest.fixture(scope="module", params=MIXES)
def plan(request: pytest.FixtureRequest) -> Plan:
    """A plan of each mix."""
    return make_plan(ORDERS, PARTITIONS, mix=request.param, run="-x")


def submission(record: Planned) -> Submission:
    """The submission that a record carries once it is sent."""
    found = MessageDecoder(Submission).decode(finish(record.head, STAMP))
    assert isinstance(found, Submission), found
    return found


def good(plan: Plan) -> list[Planned]:
    """The records that are submissions."""
    return [record for record in plan.records if record.kind != Kind.MALFORMED]


def test_what_is_planned_is_what_is_produced(plan: Plan) -> None:
    """Kinds are counted right, every record is a valid submission, its key and partition are those of its body."""
    records = list(plan.records)
    assert Counter(Kind(record.kind) for record in records) == plan.kinds
    assert plan.total == len(records) == ORDERS
    lines = 0
    for record in good(plan):
        sent = submission(record)
        assert record.key == f"{sent.channel}:{sent.submission_id}".encode()
        assert record.partition == partition_of(record.key, PARTITIONS)
        lines += len(sent.lines) if record.kind == Kind.ORDER else 0
    assert lines == plan.lines


def test_each_submission_is_sent_as_often_as_the_plan_says(plan: Plan) -> None:
    """First submissions have keys of their own, numbered from 0; repeats and conflicts follow theirs."""
    numbers = [int(submission(record).submission_id[-NUMBER_DIGITS:]) for record in good(plan)]
    assert Counter(numbers) == Counter(dict(enumerate(plan.sends)))
    firsts = [record.key for record in plan.records if record.kind == Kind.ORDER]
    assert len(set(firsts)) == len(firsts) == len(plan.sends)
    assert plan.answers == sum(plan.sends)


def test_a_repeat_has_the_bytes_of_its_first(plan: Plan) -> None:
    """Only a conflict has another body under the same key."""
    first = {record.key: record.head for record in plan.records if record.kind == Kind.ORDER}
    for record in plan.records:
        if record.kind == Kind.REPEAT:
            assert record.head == first[record.key]
        if record.kind == Kind.CONFLICT:
            assert record.head != first[record.key]


def test_stock_is_what_accepted_orders_need(plan: Plan) -> None:
    """Where all are accepted, stock and quotas are met to the unit; where not, there is less than is wanted."""
    wanted: Counter[tuple[str, str | None]] = Counter()
    for record in plan.records:
        if record.kind == Kind.ORDER:
            sent = submission(record)
            for line in sent.lines:
                wanted[line.sku, sent.promotion_id] += line.qty
    quotas: dict[tuple[str, str | None], int] = {
        (sku, p.promotion_id): units for p in plan.promotions for sku, units in p.quota
    }
    main = plan.stock.copy()
    for (sku, _), units in quotas.items():
        main[sku] -= units
    offered: dict[tuple[str, str | None], int] = {(sku, None): units for sku, units in main.items() if units}
    offered.update(quotas)
    if plan.accepted == len(plan.sends):
        assert offered == dict(wanted)
    else:
        assert sum(offered.values()) < wanted.total()
        assert offered.keys() <= wanted.keys()


@pytest.mark.parametrize("mix", MIXES)
def test_the_same_seed_makes_the_same_plan(mix: Mix) -> None:
    """Records can be read again and are those of another plan of that seed; a mix that is drawn differs by seed."""
    once = make_plan(ORDERS, PARTITIONS, mix=mix)
    assert list(once.records) == list(once.records)
    again = make_plan(ORDERS, PARTITIONS, mix=mix)
    assert list(once.records) == list(again.records)
    assert (once.stock, once.promotions, once.sends) == (again.stock, again.promotions, again.sends)
    if mix != "hot":
        assert list(make_plan(ORDERS, PARTITIONS, mix=mix, seed=2).records) != list(once.records)


def test_the_shares_of_the_mixes() -> None:
    """`hot` has units for a hundredth of its orders; of `repeats` a tenth are first submissions."""
    hot = make_plan(ORDERS, PARTITIONS, mix="hot")
    assert (hot.accepted, hot.rejected, hot.promised) == (10, {"out_of_stock": 990}, {"hot": 10})
    assert len({submission(record).buyer_id for record in hot.records}) == ORDERS
    repeats = make_plan(ORDERS, PARTITIONS, mix="repeats")
    assert repeats.kinds == {Kind.ORDER: 100, Kind.REPEAT: 900}
    assert repeats.accepted == 100
    odd = make_plan(1_009, PARTITIONS, mix="repeats")
    assert sum(odd.sends) == odd.total == sum(1 for _ in odd.records) == 1_009


@pytest.mark.parametrize("mix", ["one-line", "baskets"])
def test_a_share_of_orders_asks_for_the_hot_sku(mix: Mix) -> None:
    """Exactly that share, with stock for all of them."""
    plan = make_plan(ORDERS, PARTITIONS, mix=mix, hot_share=0.3)
    asking = [s for s in map(submission, plan.records) if any(line.sku == HOT_SKU for line in s.lines)]
    assert len(asking) == 300 == plan.stock[HOT_SKU]
    assert {s.promotion_id for s in asking} == {None}


def test_what_cannot_be_planned_is_refused() -> None:
    """With words about the option that is wrong."""
    with pytest.raises(Refused, match="between 1 and"):
        make_plan(0, PARTITIONS, mix="one-line")
    with pytest.raises(Refused, match="no share"):
        make_plan(ORDERS, PARTITIONS, mix="one-line", hot_share=1.5)
    with pytest.raises(Refused, match="one-line and baskets"):
        make_plan(ORDERS, PARTITIONS, mix="hot", hot_share=0.5)
    with pytest.raises(Refused, match="room for one line"):
        make_plan(ORDERS, PARTITIONS, mix="baskets", hot_share=1.0)


def test_a_plan_survives_its_file(plan: Plan) -> None:
    """What the generator and the observer read is what was planned; the files are gone afterwards."""
    with planfile.written(plan) as files:
        read = [row for frame in planfile.read(files.records) for row in frame]
        assert read == [tuple(record) for record in plan.records]
        assert planfile.read_sends(files.sends) == plan.sends
    assert not files.records.parent.exists()
