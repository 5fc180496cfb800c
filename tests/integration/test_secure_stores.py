"""Redis with users and TLS, Postgres with TLS: the addresses that docs/kafka.md shows get in, others do not."""

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from certificates import Certificates, certificates
from processes import soon

from infra.embedded import Part, children, spawn
from infra.embedded.binaries import find_binaries
from infra.embedded.state import choose_ports
from streams.errors import FloodwayError
from streams.stores.ledger_postgres import PostgresLedger
from streams.stores.stock_redis import RedisStock

pytestmark = pytest.mark.timeout(90)

SECRET = "s3same-open"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority that signed the servers' certificate."""
    return certificates(tmp_path_factory.mktemp("pem"))


@pytest.fixture(params=["plain", "tls"])
def redis_url(request: pytest.FixtureRequest, tmp_path: Path, pem: Certificates) -> Iterator[str]:
    """A Redis that lets in the user `floodway` only; Valkey of the stack plainly, the system's own with TLS."""
    port = choose_ports({})[Part.REDIS]
    acl = tmp_path / "users.acl"
    acl.write_text(f"user default off\nuser floodway on >{SECRET} ~* &* +@all\n")
    if request.param == "plain":
        argv = [str(find_binaries().valkey), "--port", str(port)]
    else:
        system = shutil.which("redis-server")
        if system is None:
            pytest.skip("the embedded Valkey is built without TLS, and this machine has no redis-server")
        argv = [system, "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
        argv += ["--tls-cert-file", str(pem.certificate), "--tls-key-file", str(pem.key)]
        argv += ["--tls-ca-cert-file", str(pem.authority)]
    log = tmp_path / "log"
    process = spawn([*argv, "--bind", "127.0.0.1", "--aclfile", acl, "--save", "", "--dir", tmp_path], log_path=log)
    try:
        assert soon(lambda: "eady to accept connections" in log.read_text()), log.read_text()
        tls = ("rediss", f"?ssl_ca_certs={pem.authority}") if request.param == "tls" else ("redis", "")
        yield f"{tls[0]}://floodway:{SECRET}@127.0.0.1:{port}/0{tls[1]}"
    finally:
        children.kill(process)


async def test_redis_lets_us_in_by_user(redis_url: str) -> None:
    """Scripts run for the user, over checked TLS too; a wrong password or authority is told, no secret is."""
    stock = RedisStock.connect(redis_url, timeout_s=5, dedupe_retention_s=60)
    await stock.install_epoch(1)
    assert await stock.epoch() == 1
    await stock.close()
    others = [redis_url.replace(SECRET, "wr0ng-one")]
    if "?" in redis_url:
        others.append(redis_url.partition("?")[0])
    for url in others:
        stranger = RedisStock.connect(url, timeout_s=5, dedupe_retention_s=60)
        with pytest.raises(FloodwayError) as told:
            await stranger.epoch()
        await stranger.close()
        assert SECRET not in str(told.value)
        assert "wr0ng-one" not in str(told.value)


@pytest.fixture
def postgres(tmp_path: Path, pem: Certificates) -> Iterator[int]:
    """The system's own PostgreSQL with TLS, its port: the embedded one is built without."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found or os.geteuid() != 0:
        pytest.skip("the embedded PostgreSQL is built without TLS, and this machine has no other, or no root to run it")
    entry = pwd.getpwnam("postgres")
    user = children.User(entry.pw_uid, entry.pw_gid, keep_dac=True)
    data, log, port = tmp_path / "data", tmp_path / "log", choose_ports({})[Part.POSTGRES]
    data.mkdir(mode=0o700)
    for source, name in ((pem.certificate, "server.crt"), (pem.key, "server.key")):
        shutil.copy(source, tmp_path / name)
        shutil.chown(tmp_path / name, entry.pw_uid, entry.pw_gid)
        (tmp_path / name).chmod(0o600)
    shutil.chown(data, entry.pw_uid, entry.pw_gid)
    made = spawn([found[-1] / "initdb", "-D", data, "-A", "trust", "-U", "floodway"], log_path=log, user=user)
    assert made.wait(60) == 0, log.read_text()
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "ssl": "on"}
    options |= {"ssl_cert_file": tmp_path / "server.crt", "ssl_key_file": tmp_path / "server.key"}
    argv: list[str | Path] = [
        found[-1] / "postgres",
        "-D",
        data,
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    process = spawn(argv, log_path=log, user=user)
    try:
        assert soon(lambda: "ready to accept connections" in log.read_text()), log.read_text()
        yield port
    finally:
        children.kill(process)


async def test_postgres_is_checked_by_its_certificate(postgres: int, tmp_path: Path, pem: Certificates) -> None:
    """`sslmode=verify-full` with the authority's file connects over TLS; by another authority's it is not trusted."""
    dsn = f"postgresql://floodway@127.0.0.1:{postgres}/postgres?sslmode=verify-full&sslrootcert="
    ledger = await _ledger(f"{dsn}{pem.authority}")
    await ledger.close()
    connection = await asyncpg.connect(f"{dsn}{pem.authority}")
    assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    await connection.close()
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(FloodwayError, match=r"(?i)certificate"):
        await _ledger(f"{dsn}{certificates(other).authority}")


async def _ledger(dsn: str) -> PostgresLedger:
    return await PostgresLedger.connect(dsn, None, pool_size=1, statement_timeout_s=5, replica_wait_s=0.5)
