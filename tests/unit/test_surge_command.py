"""What `floodway surge` makes of its options, and what it shows while it runs."""

import pytest

from infra.cli.live import Rates
from infra.cli.surge import surge
from loadtest.surge import Now
from streams.errors import Refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 5.0}, "--seconds goes with a rate"),
        ({"rate": 0.0}, "must be above 0, or max"),
        ({"rate": 100.0, "orders": 5, "seconds": 5.0}, "not both"),
        ({"workers": 0}, "--workers 0"),
        ({"orders": 0}, "between 1 and"),
        ({"hot_sku": 2.0}, "no share"),
        ({"mix": "hot", "hot_sku": 0.5}, "one-line and baskets"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_starts(options: dict[str, float], words: str) -> None:
    """With words that name the option."""
    with pytest.raises(Refused, match=words):
        surge(**options)  # type: ignore[arg-type]


def test_rates_are_those_of_the_last_second() -> None:
    """A burst long ago does not count, and the first look tells no rate out of nothing."""
    rates = Rates()

    def at(seconds: float, sent: int, decided: int) -> tuple[float, float]:
        return rates.per_s(Now(10_000, 10_000, sent, decided, 0.0), seconds)

    assert at(0.0, 0, 0) == (0.0, 0.0)
    assert at(0.5, 2_000, 0) == (4_000.0, 0.0)
    assert at(1.5, 2_000, 500) == (0.0, 500.0)
    assert at(2.5, 2_100, 500) == (100.0, 0.0)
