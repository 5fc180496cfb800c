"""Settings are read once, and what is wrong with them is said with the variable's name."""

from dataclasses import FrozenInstanceError, fields

import pytest

from streams.errors import SettingsError
from streams.settings import PREFIX, Settings, environment, load

NUMBERS = [f.name for f in fields(Settings) if f.type in (int, float)]


def test_without_variables_the_defaults_hold() -> None:
    """An empty environment is a valid one; a variable that is set to nothing counts as not set."""
    assert load({}) == Settings()
    assert load({PREFIX + "TOPIC_PARTITIONS": "", PREFIX + "POSTGRES_REPLICA_DSN": ""}) == Settings()


def test_each_field_is_read_from_its_variable() -> None:
    """Whole numbers, numbers, texts and optional texts are parsed by the field's type; strangers are left alone."""
    found = load(
        {
            PREFIX + "KAFKA_BOOTSTRAP": "k1:9092,k2:9092",
            PREFIX + "POSTGRES_REPLICA_DSN": "postgresql://r/floodway",
            PREFIX + "TOPIC_PARTITIONS": "24",
            PREFIX + "HOLD_TTL_S": "60",
            PREFIX + "COMMIT_INTERVAL_S": "0.25",
            PREFIX + "READY_FILE": "ready",
            "TOPIC_REPLICATION": "3",
            PREFIX + "NO_SUCH": "1",
        }
    )
    assert (found.kafka_bootstrap, found.postgres_replica_dsn) == ("k1:9092,k2:9092", "postgresql://r/floodway")
    assert (found.topic_partitions, found.hold_ttl_s, found.commit_interval_s) == (24, 60.0, 0.25)
    assert isinstance(found.hold_ttl_s, float)
    assert (found.ready_file, found.topic_replication) == ("ready", 1)


def test_the_process_own_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called without one, `load` reads the environment of the process."""
    monkeypatch.setenv(PREFIX + "TOPIC_PARTITIONS", "7")
    assert load().topic_partitions == 7


def test_overrides_win() -> None:
    """What a command line says stands above the environment."""
    assert load({PREFIX + "POSTGRES_POOL": "2"}, postgres_pool=8).postgres_pool == 8


def test_settings_are_frozen() -> None:
    """Nobody changes a setting after start."""
    with pytest.raises(FrozenInstanceError):
        Settings().postgres_pool = 5  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("TOPIC_PARTITIONS", "many", "a whole number"),
        ("TOPIC_PARTITIONS", "1.5", "a whole number"),
        ("HOLD_TTL_S", "half an hour", "a number"),
        ("KAFKA_IDEMPOTENT", "maybe", "true or false"),
    ],
)
def test_what_is_no_number_is_refused_by_name(name: str, text: str, wanted: str) -> None:
    """The error names the variable, what it holds and what it should be."""
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name}='{text}' is not {wanted}"):
        load({PREFIX + name: text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (n, text)
        for n in NUMBERS
        for text in ("0", "-1")
        if n not in ("review_after_s", "metrics_port", "log_one_in") or text != "0"
    ],
)
def test_every_number_is_above_zero(name: str, text: str) -> None:
    """No setting makes sense at zero or below."""
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name.upper()}=.* greater than 0"):
        load({PREFIX + name.upper(): text})


@pytest.mark.parametrize("name", [f.name for f in fields(Settings) if f.type is float])
@pytest.mark.parametrize("text", ["nan", "inf"])
def test_every_number_is_finite(name: str, text: str) -> None:
    """`nan` would pass every comparison, `inf` would wait for ever; Python reads both as numbers."""
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name.upper()}={text} must be finite"):
        load({PREFIX + name.upper(): text})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"hold_ttl_s": 100.0, "dedupe_retention_s": 100.0}, ("HOLD_TTL_S=100.0", "DEDUPE_RETENTION_S=100.0")),
        ({"chunk_max_records": 101, "batch_max_orders": 100}, ("CHUNK_MAX_RECORDS=101", "BATCH_MAX_ORDERS=100")),
        ({"replica_wait_s": 2.0, "postgres_timeout_s": 1.0}, ("REPLICA_WAIT_S=2.0", "POSTGRES_TIMEOUT_S=1.0")),
        ({"review_after_s": 2.0}, ("BREAKER_OPEN_S=2.0", "REVIEW_AFTER_S=2.0")),
        ({"breaker_min_calls": 7}, ("BREAKER_MIN_CALLS=7", "BREAKER_WINDOW_CALLS=6")),
        ({"topic_min_insync": 2}, ("TOPIC_MIN_INSYNC=2", "TOPIC_REPLICATION=1")),
    ],
)
def test_a_broken_relation_names_both_sides(values: dict[str, float], named: tuple[str, str]) -> None:
    """Both variables and both values stand in the error, and why it matters."""
    with pytest.raises(SettingsError) as found:
        load({}, **values)
    for name in named:
        assert PREFIX + name in str(found.value)
    assert ": a " in str(found.value)


@pytest.mark.parametrize(
    "values",
    [
        {"hold_ttl_s": 99.9, "dedupe_retention_s": 100.0},
        {"chunk_max_records": 100, "batch_max_orders": 100},
        {"replica_wait_s": 1.0, "postgres_timeout_s": 1.0},
        {"batch_max_orders": 5_000},
        {"expiry_batch": 5_000},
        {"breaker_min_calls": 6, "breaker_trip_share": 1.0},
        {"log_level": "DEBUG"},
        {"review_after_s": 0.0},
        {"review_after_s": 2.1, "review_release": "operator"},
    ],
)
def test_relations_and_bounds_allow_their_edge(values: dict[str, float | str]) -> None:
    """The last value inside of each is taken."""
    assert load({}, **values) == Settings(**values)  # type: ignore[arg-type]  # names and types are in the list above


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_max_orders", 5_001),
        ("expiry_batch", 5_001),
        ("breaker_trip_share", 1.5),
        ("log_level", "LOUD"),
        ("review_release", "never"),
        ("kafka_security", "TLS"),
        ("kafka_sasl_mechanism", "GSSAPI"),
        ("kafka_security", "SASL_SSL"),
    ],
)
def test_what_a_script_or_the_log_cannot_take_is_refused(name: str, value: float | str) -> None:
    """Found at start, by name, not by the first batch."""
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name.upper()}={value} "):
        load({}, **{name: value})


SECRET = "sw0rdfish"
WITH_SECRETS = {
    PREFIX + "KAFKA_SECURITY": "SASL_SSL",
    PREFIX + "KAFKA_USER": "floodway",
    PREFIX + "KAFKA_PASSWORD": SECRET,
    PREFIX + "REDIS_URL": f"rediss://floodway:{SECRET}@redis:6379/0",
    PREFIX + "POSTGRES_DSN": f"postgresql://floodway:{SECRET}@db/floodway?sslmode=verify-full",
    PREFIX + "POSTGRES_REPLICA_DSN": f"postgresql://db/floodway?user=floodway&password={SECRET}",
}


def test_secrets_are_not_shown() -> None:
    """The text form, which a log or a traceback may show, has no password in it, and the rest of each address."""
    settings = load(WITH_SECRETS)
    assert settings.kafka_password == SECRET
    shown = repr(settings)
    assert SECRET not in shown
    assert "rediss://floodway:***@redis:6379/0" in shown
    assert "postgresql://floodway:***@db/floodway?sslmode=verify-full" in shown


def test_a_child_runs_with_exactly_these_settings() -> None:
    """What `environment` spells out is read back as it was, secrets and all."""
    settings = load(WITH_SECRETS, kafka_idempotent=False, hold_ttl_s=60.5)
    assert load(environment(settings)) == settings


@pytest.mark.parametrize("instance", ["", "two words", "x" * 201, "a/b"])
def test_an_instance_is_a_name_that_kafka_takes(instance: str) -> None:
    """Letters, digits, dots, dashes and underscores; none at all is no static membership."""
    if instance == "":
        assert load({"FLOODWAY_GROUP_INSTANCE_ID": ""}).group_instance_id is None
        return
    with pytest.raises(SettingsError, match=r"GROUP_INSTANCE_ID.*must be 1 to 200"):
        load({"FLOODWAY_GROUP_INSTANCE_ID": instance})


def test_an_instance_needs_a_broker_that_knows_static_members() -> None:
    """With the embedded broker's settings it is refused, by the names of both."""
    assert load({}, group_instance_id="host-1").group_instance_id == "host-1"
    with pytest.raises(SettingsError, match=r"GROUP_INSTANCE_ID=host-1 needs.*KAFKA_IDEMPOTENT=false.*tansu"):
        load({}, group_instance_id="host-1", kafka_idempotent=False)
