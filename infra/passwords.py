"""The passwords of a Compose installation, made once: a directory of files that `docker-compose.yml` names as secrets.

The directory is closed to others. The files in it are open to all: Docker mounts them as they are, and each container
runs as another user.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe

from agents.http.tokens import make_token
from streams.errors import Refused

DIRECTORY_MODE = 0o700
FILE_MODE = 0o444

Maker = Callable[[Mapping[str, str]], str]


def _random(_: Mapping[str, str]) -> str:
    # Letters, digits, dash and underscore: nothing that a URL, a pgpass file or an ACL line would have to escape.
    return token_urlsafe(32)


def _dsn(host: str) -> Maker:
    return lambda made: f"postgresql://floodway:{made['floodway_password']}@{host}:5432/floodway"


def _redis_users(made: Mapping[str, str]) -> str:
    digest = sha256(made["redis_password"].encode()).hexdigest()
    return f"user default off\nuser floodway on #{digest} ~* &* +@all"


def _token_line(made: Mapping[str, str]) -> str:
    digest = sha256(made["http_token"].encode()).hexdigest()
    return f"compose orders:write,orders:read sha256:{digest}"


MAKERS: dict[str, Maker] = {
    "postgres_password": _random,
    "floodway_password": _random,
    "replicator_password": _random,
    "postgres_dsn": _dsn("postgres"),
    "postgres_replica_dsn": _dsn("replica"),
    "redis_password": _random,
    "redis_users": _redis_users,
    "redis_url": lambda made: f"redis://floodway:{made['redis_password']}@valkey:6379/0",
    "http_token": lambda _: make_token()[0],
    "http_tokens": _token_line,
    "grafana_password": _random,
}
"""What each file holds, made of those before it."""


def make_passwords(directory: Path) -> list[str]:
    """Make the files that are missing; returns their names. None is ever written anew. Raises `Refused`."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        raise Refused(f"{directory} is open to others; `chmod 700 {directory}`, or give another with --into.")
    held: dict[str, str] = {}
    new = []
    for name, make in MAKERS.items():
        path = directory / name
        if not path.exists():
            path.touch(mode=FILE_MODE)
            path.chmod(0o600)
            path.write_text(make(held) + "\n", encoding="utf-8")
            path.chmod(FILE_MODE)
            new.append(name)
        held[name] = path.read_text(encoding="utf-8").strip()
    return new
