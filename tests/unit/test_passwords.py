"""The passwords of a Compose installation: made once, closed to others, and of use to those who read them."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from agents.http.settings import load_http
from agents.http.tokens import Tokens
from infra.passwords import MAKERS, make_passwords
from streams.errors import Refused, SettingsError
from streams.settings import load


def test_they_are_made_once_and_differ(tmp_path: Path) -> None:
    """Every file is made, none twice; each random one is another; one that was taken away comes back, the rest stay."""
    directory = tmp_path / "secrets"
    assert make_passwords(directory) == [*MAKERS]
    before = {path.name: path.read_text() for path in directory.iterdir()}
    random = {name: text for name, text in before.items() if name.endswith(("_password", "_token"))}
    assert len(set(random.values())) == len(random) == 6
    assert all(len(text.strip()) >= 43 for text in random.values())
    (directory / "redis_url").unlink()
    assert make_passwords(directory) == ["redis_url"]
    assert {path.name: path.read_text() for path in directory.iterdir()} == before


def test_the_directory_is_closed(tmp_path: Path) -> None:
    """Others cannot look in; one that is open already is refused; containers' users may read the files themselves."""
    directory = tmp_path / "secrets"
    make_passwords(directory)
    assert directory.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o444}
    directory.chmod(0o755)
    with pytest.raises(Refused, match="chmod 700"):
        make_passwords(directory)


def test_settings_read_them(tmp_path: Path) -> None:
    """Addresses come from the files as settings, the front knows the token, and Redis' line has its hash alone."""
    directory = tmp_path / "secrets"
    make_passwords(directory)
    held = {path.name: path.read_text().strip() for path in directory.iterdir()}
    files = {f"FLOODWAY_{name.upper()}_FILE": str(directory / name) for name in ("redis_url", "postgres_dsn")}
    settings = load(files)
    assert settings.redis_url == held["redis_url"]
    assert settings.postgres_dsn == held["postgres_dsn"]
    assert held["redis_password"] not in repr(settings)
    tokens = Tokens.load(
        load_http({"FLOODWAY_HTTP_HOST": "0.0.0.0", "FLOODWAY_HTTP_TOKENS_FILE": str(directory / "http_tokens")})
    )
    assert tokens.caller({b"authorization": b"Bearer " + held["http_token"].encode()}).name == "compose"
    assert sha256(held["redis_password"].encode()).hexdigest() in held["redis_users"]
    assert not re.search(re.escape(held["redis_password"]), held["redis_users"])


def test_a_variable_comes_before_its_file(tmp_path: Path) -> None:
    """Who sets both gets the variable, as children of a supervisor do; a file that cannot be read is named."""
    there = tmp_path / "url"
    there.write_text("redis://file:1/0\n")
    assert load({"FLOODWAY_REDIS_URL_FILE": str(there)}).redis_url == "redis://file:1/0"
    both = {"FLOODWAY_REDIS_URL_FILE": str(there), "FLOODWAY_REDIS_URL": "redis://variable:1/0"}
    assert load(both).redis_url == "redis://variable:1/0"
    for bad in (tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError, match="FLOODWAY_REDIS_URL_FILE"):
            load({"FLOODWAY_REDIS_URL_FILE": str(bad)})
    there.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="FLOODWAY_REDIS_URL_FILE"):
        load({"FLOODWAY_REDIS_URL_FILE": str(there)})
    there.write_text("nonsense")
    with pytest.raises(SettingsError, match="FLOODWAY_REDIS_URL="):
        load({"FLOODWAY_REDIS_URL_FILE": str(there)})
