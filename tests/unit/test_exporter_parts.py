"""Parts of the exporter that need no servers: rates, shelves, what workers told, bounds of settings and of who asks."""

import json
from pathlib import Path

import pytest

from agents.exporter import shelves
from agents.exporter.looks import RATE_S, Rate
from agents.exporter.scraping import Scraper, parse, urls_in
from agents.exporter.settings import load_exporter
from streams.core.stock import Promotion
from streams.errors import SettingsError
from streams.stores.stock_fake import FakeStock

WORKER = """\
# TYPE floodway_worker_info gauge
floodway_worker_info{role="intake",version="1"} 1.0
# TYPE floodway_breaker_state gauge
floodway_breaker_state{dependency="redis",state="closed"} 0.0
floodway_breaker_state{dependency="redis",state="half_open"} 1.0
floodway_breaker_state{dependency="kafka",state="closed"} 1.0
# TYPE floodway_stage_duration_seconds histogram
floodway_stage_duration_seconds_bucket{stage="reserve",le="+Inf"} %(count)d
floodway_stage_duration_seconds_sum{stage="reserve"} %(sum)f
floodway_stage_duration_seconds_count{stage="reserve"} %(count)d
"""


def test_a_rate_is_of_the_last_looks_and_begins_anew_when_offsets_go_back() -> None:
    """Over a bounded time; a rewind is no negative rate."""
    rate = Rate()
    rate.add(0.0, 100)
    assert rate.per_s == 0
    for second in range(1, 60):
        rate.add(float(second), 100 + 10 * second)
    assert rate.per_s == pytest.approx(10)
    rate.add(60.0, 100 + 590 + 10 * round(RATE_S))
    assert rate.per_s > 10
    rate.add(61.0, 5)
    assert rate.per_s == 0
    rate.add(62.0, 8)
    assert rate.per_s == 3


async def test_pools_are_added_up_and_few() -> None:
    """Units by account over all SKUs, those low and out; promotions beyond the largest are told as one."""
    stock = FakeStock(dedupe_retention_s=100)
    await stock.install_epoch(1)
    await stock.receive(1, "r", [("A", 1_000), ("B", 3), ("C", 0)])
    for number in range(shelves.MAX_PROMOTIONS + 3):
        await stock.open_promotion(1, Promotion(f"p{number}", 0, 10, 0, (("A", number + 1),)))
    found = {shelf.pool: shelf for shelf in await shelves.add_up(stock, 10)}
    main, others = found["main"], found[shelves.OTHERS]
    quotas = sum(range(1, shelves.MAX_PROMOTIONS + 4))
    assert (main.free, main.skus, main.low, main.out) == (1_003 - quotas, 3, 1, 1)
    assert len(found) == shelves.MAX_PROMOTIONS + 2
    assert (others.free, others.skus) == (1 + 2 + 3, 3)
    assert sum(shelf.free + shelf.held + shelf.sold for shelf in found.values()) == 1_003


def test_stages_are_timed_between_two_looks() -> None:
    """The mean of what came since the last look, of the slowest worker; nothing at first, and when nothing came."""
    scraper = Scraper([], Path(), 1.0)

    def look(**sums: tuple[float, int]) -> dict[str, float]:
        told = [parse(url, WORKER % {"sum": total, "count": count}) for url, (total, count) in sums.items()]
        return scraper.stage_s(told)

    assert look(a=(10.0, 5), b=(1.0, 1)) == {}
    assert look(a=(10.5, 15), b=(4.0, 2)) == {"redis": pytest.approx(3.0)}
    assert look(a=(10.5, 15), b=(4.0, 2)) == {}


def test_a_breaker_that_is_not_closed_is_seen() -> None:
    """Half open counts too; the role comes from the worker itself, and who tells none is no worker."""
    told = parse("http://x", WORKER % {"sum": 0, "count": 0})
    assert (told.role, told.unsettled()) == ("intake", {"redis"})
    assert parse("http://x", "# TYPE up gauge\nup 1\n").role is None


def test_workers_of_a_directory_are_found(tmp_path: Path) -> None:
    """By their ready files; those that are half written, or of others, are passed over."""
    (tmp_path / "intake-0.ready").write_text(json.dumps({"metrics": "http://127.0.0.1:1"}))
    (tmp_path / "intake-1.ready").write_text('{"metrics": "http')
    (tmp_path / "http-0.ready").write_text("")
    (tmp_path / "notify-0.ready").write_text('["metrics"]')
    assert urls_in(tmp_path) == ["http://127.0.0.1:1"]
    assert urls_in(tmp_path / "missing") == []


async def test_workers_behind_a_name_are_all_its_addresses(tmp_path: Path) -> None:
    """An address that nobody answers at, or a name that is none, is no error: its worker is gone."""
    scraper = Scraper(["localhost:1", "no-such-name.invalid:9464"], tmp_path, 2.0)
    assert "http://127.0.0.1:1" in await scraper._resolved()
    assert await scraper.look() == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AUTOSCALE_MIN", "13", "AUTOSCALE_MIN=13 must be <= FLOODWAY_EXPORTER_AUTOSCALE_MAX=12"),
        ("PORT", "65536", "PORT=65536 is no port"),
        ("INTERVAL_S", "0", "INTERVAL_S=0.0 must be finite and greater than 0"),
        ("WORKERS", "intake:9464,lifecycle", "'lifecycle' is no address"),
    ],
)
def test_settings_at_odds_are_refused(name: str, value: str, said: str) -> None:
    """With the variable's name."""
    with pytest.raises(SettingsError, match=said):
        load_exporter({f"FLOODWAY_EXPORTER_{name}": value})
