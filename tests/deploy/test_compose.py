"""docker-compose.yml: what Compose's own program says of it, and what holds between it and the project."""

import os
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from composed import ROOT, compose, mounted, ours, services, tool

from agents.exporter import settings as exporter
from agents.exporter.settings import ExporterSettings
from agents.http import settings as http
from agents.http.settings import HttpSettings
from infra.cli import app
from infra.embedded import kafka
from infra.embedded.binaries import REDIS_CONF
from infra.embedded.postgres import LOCALE
from infra.passwords import MAKERS
from infra.workers import STOP_WAIT_S
from streams.settings import FILE_SUFFIX, FROM_FILES, PREFIX, Settings

NAMES = sorted(services())
SECONDS = re.compile(r"(?:(\d+)m)?(?:(\d+)s)?")
SIZES = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def _seconds(text: str) -> int:
    found = SECONDS.fullmatch(text)
    assert found, text
    return 60 * int(found[1] or 0) + int(found[2] or 0)


def _memory(name: str) -> int:
    return int(services()[name]["deploy"]["resources"]["limits"]["memory"])


def test_compose_itself_takes_the_file() -> None:
    """Docker Compose's program parses, merges and checks it without an error or a warning."""
    assert {"kafka", "valkey", "postgres", "replica", "init", "intake", "lifecycle", "http"} <= set(NAMES)
    default = subprocess.run(
        [tool("docker-compose"), "--file", str(ROOT / "docker-compose.yml"), "config", "--services"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    assert set(default) == {name for name in NAMES if not services()[name].get("profiles")}


def test_a_mistake_is_found(tmp_path: Path) -> None:
    """The check can fail: a key that Compose doesn't know is refused by the same program."""
    bad = tmp_path / "docker-compose.yml"
    bad.write_text((ROOT / "docker-compose.yml").read_text().replace("stop_grace_period:", "stop_grace_perod:", 1))
    argv = [tool("docker-compose"), "--file", str(bad), "config", "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode != 0
    assert "stop_grace_perod" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_service_is_bounded_and_guarded(name: str) -> None:
    """No root, no new privileges, no capabilities, a read-only root, limits, a pinned image, a way to tell it lives."""
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), service["user"]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= limits.keys()
    tag = service["image"].rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+.*|\d+\.\d+-\w+", tag), f"{service['image']} is no exact version"
    assert service["logging"]["options"]["max-size"]
    runs_on = service["restart"] != "no"
    assert runs_on == (name not in {"init", "loadtest"})
    if runs_on:
        assert service["restart"] == "unless-stopped"
    has_check = name in ours() or "test" in service.get("healthcheck", {})  # ours have that of their image
    assert has_check or not runs_on


@pytest.mark.parametrize("name", NAMES)
def test_published_ports_are_on_loopback(name: str) -> None:
    """Nobody from outside of the machine gets in unless somebody changes the file."""
    for port in services()[name].get("ports", []):
        assert port["host_ip"] == "127.0.0.1", port


@pytest.mark.parametrize("name", NAMES)
def test_what_is_mounted_is_there(name: str) -> None:
    """Each mounted path is a file or folder of the checkout, mounted read-only, and tracked by git."""
    tracked = set(
        subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    )
    for source in mounted(name).values():
        inside = source.relative_to(ROOT).as_posix()
        assert inside in tracked or any(path.startswith(f"{inside}/") for path in tracked), inside
    for mount in services()[name].get("volumes", []):
        assert mount["type"] == "volume" or mount["read_only"] is True, mount


@pytest.mark.parametrize("name", sorted(ours()))
def test_settings_are_real(name: str) -> None:
    """Every FLOODWAY_ variable is a setting, by itself or by its file, and holds what that setting takes."""
    known = {PREFIX + field.name.upper() for field in fields(Settings)}
    known |= {PREFIX + field.upper() + FILE_SUFFIX for field in FROM_FILES}
    known |= {http.PREFIX + field.name.upper() for field in fields(HttpSettings)}
    known |= {exporter.PREFIX + field.name.upper() for field in fields(ExporterSettings)}
    environment: dict[str, str] = services()[name].get("environment", {})
    given = {key for key in environment if key.startswith("FLOODWAY")}
    assert given <= known, given - known
    assert {"FLOODWAY_KAFKA_BOOTSTRAP", "FLOODWAY_REDIS_URL_FILE", "FLOODWAY_POSTGRES_DSN_FILE"} <= given


@pytest.mark.parametrize("name", sorted(name for name, service in ours().items() if not service.get("entrypoint")))
def test_commands_are_real(name: str) -> None:
    """Each command of ours parses with the real command line, which is the image's entry point."""
    app.parse_args([str(word) for word in services()[name]["command"]], exit_on_error=False, print_error=False)


def test_the_load_test_finds_its_file() -> None:
    """Locust reads our file where the image has it, and takes the service's words."""
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text()
    found = re.search(
        r"^ENV LOCUST_LOCUSTFILE=/opt/floodway/lib/python(.+)/site-packages/(.+)$", dockerfile, re.MULTILINE
    )
    assert found
    assert f"FROM python:{found[1]}." in dockerfile
    service = services()["loadtest"]
    argv = [tool(service["entrypoint"][0]), *service["command"], "--list"]
    env = {**os.environ, "LOCUST_LOCUSTFILE": str(ROOT / found[2])}
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {"KafkaUser", "HttpUser"} <= set(done.stdout.split())


def test_no_password_stands_in_the_file() -> None:
    """Passwords come from files that `floodway secrets` makes, every one; no address has one, nothing has a default."""
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"://[^\s/]*:[^\s/]*@", text)
    assert not re.search(r"\$\{", text), "a variable with a default, or without, would work silently"
    assert not re.search(r"(?i)(password|token)s?(_file)?:\s*(?!/run/secrets/|\{file: |$)\S", text, re.MULTILINE)
    for name, secret in compose()["secrets"].items():
        assert Path(secret["file"]) == ROOT / ".secrets" / name
        assert name in MAKERS
    used = {secret["source"] for service in services().values() for secret in service.get("secrets", [])}
    assert used == compose()["secrets"].keys()
    assert ".secrets/" in (ROOT / ".gitignore").read_text().split()


@pytest.mark.parametrize("name", NAMES)
def test_files_of_secrets_are_given(name: str) -> None:
    """Each `/run/secrets/…` that a service names, in variables or words, is one of its secrets."""
    service = services()[name]
    words = [*(service.get("environment") or {}).values(), *(service.get("command") or [])]
    words += (service.get("healthcheck") or {}).get("test", [])
    named = set(re.findall(r"/run/secrets/(\w+)", " ".join(str(word) for word in words)))
    assert named <= {secret["source"] for secret in service.get("secrets", [])}


def test_versions_are_those_of_the_project() -> None:
    """Our image has the project's version, Kafka's that of the pom: the native stack and containers run the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {service["image"] for service in ours().values()} == {
        f"floodway:{project['version']}",
        f"floodway-loadtest:{project['version']}",
    }
    assert services()["kafka"]["image"] == f"apache/kafka:{kafka.version()}"
    assert services()["postgres"]["image"] == services()["replica"]["image"]


def test_the_database_is_made_as_the_native_one() -> None:
    """Text order and encoding are those of the native stack."""
    assert services()["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split() == [*LOCALE]


def test_limits_leave_room() -> None:
    """Memory limits are above what each server is told to take; a stop is given more time than it takes."""
    conf = REDIS_CONF.read_text()
    found = re.search(r"^maxmemory (\d+)(\w\w)$", conf, re.MULTILINE)
    assert found
    assert _memory("valkey") >= 1.5 * int(found[1]) * SIZES[found[2]]
    assert _memory("kafka") >= 2 * int(services()["kafka"]["environment"]["HEAP_MB"]) << 20
    assert int(services()["kafka"]["environment"]["HEAP_MB"]) == kafka.HEAP_MB
    for name in ("intake", "lifecycle"):
        assert _seconds(services()[name]["stop_grace_period"]) > STOP_WAIT_S
    front = HttpSettings()
    assert _seconds(services()["http"]["stop_grace_period"]) > front.drain_timeout_s + front.append_timeout_s


def _starts_after(name: str) -> set[str]:
    direct: dict[str, Any] = services()[name].get("depends_on", {})
    return set(direct) | {further for one in direct for further in _starts_after(one)}


def test_workers_start_when_all_is_prepared() -> None:
    """Schema, topics and epoch are made before a worker or the front starts, and the servers answer before that."""
    for name in ("intake", "lifecycle", "http"):
        assert services()[name]["depends_on"]["init"]["condition"] == "service_completed_successfully"
        assert {"kafka", "valkey", "postgres"} <= _starts_after(name)
    for server in ("kafka", "valkey", "postgres"):
        assert services()["init"]["depends_on"][server]["condition"] == "service_healthy"


def test_servers_cannot_be_reached_from_outside() -> None:
    """Redis and Postgres are on the network that leads nowhere else, and publish nothing."""
    assert compose()["networks"]["inside"]["internal"] is True
    for name in ("valkey", "postgres", "replica"):
        assert set(services()[name]["networks"]) == {"inside"}
        assert not services()[name].get("ports")
