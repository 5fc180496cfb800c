"""What all tests share: Hypothesis' profile, and the broker that tests of real servers run on.

Hypothesis looks at the same examples in every run, so that a red test is red for everybody. No deadline: what an
example may take is bounded by pytest's own timeout, a busy machine is no failure.

`--broker tansu|kafka|both` says on which broker tests run that ask for the fixture `broker`, themselves or through
others; `@pytest.mark.only_on("kafka", reason="…")` says that a test holds on one only.
"""

import os

import pytest
from hypothesis import settings

from infra.embedded import Broker

settings.register_profile("floodway", derandomize=True, deadline=None)
settings.load_profile("floodway")

CHOICES = {"tansu": [Broker.TANSU], "kafka": [Broker.KAFKA], "both": [Broker.TANSU, Broker.KAFKA]}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--broker`."""
    default = os.environ.get("FLOODWAY_TEST_BROKER", "tansu")
    parser.addoption("--broker", choices=list(CHOICES), default=default, help="on which broker (default: %(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "only_on(broker, reason): the test holds on this broker only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that needs a broker on each of the chosen ones that it applies to."""
    if "broker" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("only_on")
        brokers = [
            pytest.param(
                broker,
                id=broker.value,
                marks=[pytest.mark.skip(reason=f"only on {marker.args[0]}: {marker.kwargs['reason']}")]
                if marker and marker.args[0] != broker
                else [],
            )
            for broker in CHOICES[metafunc.config.getoption("--broker")]
        ]
        metafunc.parametrize("broker", brokers, scope="session", indirect=True)


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """The broker that this test runs on."""
    found: Broker = request.param
    return found
