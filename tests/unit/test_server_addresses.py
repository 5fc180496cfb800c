"""Addresses of servers: what cannot be one is told at the start, by the setting's name and without its password."""

from pathlib import Path

import pytest

from loadtest.fuzz.program import LOOPBACK
from streams.errors import SettingsError
from streams.server_addresses import wrong_with_brokers, wrong_with_postgres, wrong_with_redis
from streams.settings import load

PG = "postgresql://u@"


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("k1:9092", True),
        ("k1:9092, k2:9092", True),
        ("kafka.example.", True),
        ("[::1]:9092", True),
        ("127.0.0.1:65535", True),
        ("k1:9092,", False),
        ("k1:", False),
        ("k1:x", False),
        ("k1:0", False),
        ("k1:65536", False),
        ("k1:9092:9093", False),
        ("[::1:9092", False),
        ("[::g]:9092", False),
        ("a..b:9092", False),
        ("a" * 64 + ":9092", False),
        ("http://k1:9092", False),
        ("\udcff:9092", False),
    ],
)
def test_brokers(text: str, *, is_right: bool) -> None:
    """Each needs a host that the resolver would take; a port, if there is one, is a number in its bounds."""
    assert (wrong_with_brokers(text) is None) == is_right


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("redis://h:6379/0", True),
        ("redis://h", True),
        ("redis://user:p@ss@h:6379/15", True),
        ("rediss://h:6379/0?ssl_cert_reqs=none&ssl_check_hostname=false", True),
        ("unix:///run/redis.sock?db=1", True),
        ("h:6379", False),
        ("redis://h:x/0", False),
        ("redis://[::1/0", False),
        ("redis://h/main", False),
        ("redis://h/-1", False),
        ("redis://h/0?db=x", False),
        ("redis://h/0?decode_responses=true", False),
        ("redis://h/0?retry_on_error=x", False),
        ("rediss://h/0?ssl_cert_reqs=perhaps", False),
        ("rediss://h/0?ssl_ca_certs=/nothing/there", False),
        ("unix://", False),
    ],
)
def test_redis(text: str, *, is_right: bool) -> None:
    """A database that is no number is not taken for 0, and no option gets through that changes what Redis answers."""
    assert (wrong_with_redis(text) is None) == is_right


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        (f"{PG}h:5432/d", True),
        (f"{PG}h1:5432,h2:5433,[::1]:5434/d?target_session_attrs=read-write", True),
        ("postgres:///d?host=/run/postgresql", True),
        (f"{PG}%2Frun%2Fpostgresql/d", True),
        ("mysql://u@h/d", False),
        (f"{PG}h:x/d", False),
        (f"{PG}[::1/d", False),
        (f"{PG}a..b/d", False),
        (f"{PG}h1,/d", False),
        (f"{PG}h/d?sslrootcert=/nothing/there", False),
    ],
)
def test_postgres(text: str, *, is_right: bool) -> None:
    """Several hosts and a directory of sockets are fine; what no client could resolve or read is not."""
    assert (wrong_with_postgres(text) is None) == is_right


def test_a_file_that_is_there_is_taken(tmp_path: Path) -> None:
    """The authority's certificate is looked for, not into."""
    pem = tmp_path / "ca.pem"
    pem.touch()
    assert wrong_with_redis(f"rediss://h?ssl_ca_certs={pem}") is None
    assert wrong_with_postgres(f"{PG}h/d?sslrootcert={pem}") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_BOOTSTRAP", "redis://:secret-1@h:1"),
        ("REDIS_URL", "redis://:secret-1@h:x/0"),
        ("POSTGRES_DSN", "postgresql://u:secret-1@h:x/d"),
        ("POSTGRES_REPLICA_DSN", "postgresql://u:secret-1@h..x/d"),
        ("STOCK_AUTO_REBUILD", "redis://:secret-1@h:1"),
        ("TOPIC_PARTITIONS", "redis://:secret-1@h:1"),
        ("LOG_LEVEL", "redis://:secret-1@h:1"),
    ],
)
def test_the_error_names_the_setting_and_hides_the_password(name: str, value: str) -> None:
    """Also where an address stands in a setting that is none."""
    with pytest.raises(SettingsError, match=f"FLOODWAY_{name}=") as refused:
        load({**LOOPBACK, f"FLOODWAY_{name}": value})
    assert "secret-1" not in str(refused.value)
