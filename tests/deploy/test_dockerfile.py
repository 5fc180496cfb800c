"""infra/docker/Dockerfile: linted, and its steps done here, since there is no engine where tests run.

What is not tried is the base images themselves, and that layers come out as meant.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from composed import ROOT, ours, tool

from infra.workers import worker_argv

DOCKERFILE = ROOT / "infra/docker/Dockerfile"
TEXT = DOCKERFILE.read_text().replace("\\\n", " ")
LINES = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and not line.startswith("#")]
STAGES = re.findall(r"^FROM (\S+) AS ([\w-]+)$", TEXT, re.MULTILINE)


def _stage(name: str) -> list[list[str]]:
    """The instructions of a stage."""
    start = next(i for i, line in enumerate(LINES) if line[0] == "FROM" and line[1].endswith(f" AS {name}"))
    end = next((i for i, line in enumerate(LINES) if i > start and line[0] == "FROM"), len(LINES))
    return LINES[start + 1 : end]


def _command(stage: str, begins: str) -> list[str]:
    """The words of the `uv …` in a stage's RUN."""
    for kind, rest in _stage(stage):
        if kind == "RUN" and f" {begins}" in rest:
            return shlex.split(rest[rest.index(begins) :])
    raise AssertionError(f"{stage} runs no {begins!r}")


def test_the_linter_has_nothing_to_say() -> None:
    """hadolint, with the shell checks it has built in, finds nothing."""
    done = subprocess.run([tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_copied_is_there() -> None:
    """Each COPY from the checkout names what exists; .dockerignore lets through that and nothing else."""
    ignored = (ROOT / "infra/docker/Dockerfile.dockerignore").read_text().split("\n")
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {word for kind, rest in LINES if kind == "COPY" and "--from=" not in rest for word in rest.split()[:-1]}
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
    assert copied == let_through
    assert ignored[1] == "*"


def test_images_are_pinned() -> None:
    """Every base is an exact version or an earlier stage; the last stage is the one that composed services take."""
    known: set[str] = set()
    for base, name in STAGES:
        assert base in known or re.search(r":\d+\.\d+\.\d+(-[\w-]+)?$", base), base
        known.add(name)
    assert STAGES[-1][1] == "runtime"
    assert {service["build"]["target"] for service in ours().values()} <= known
    assert "uv" in known


@pytest.mark.parametrize("stage", ["runtime", "loadtest"])
def test_nobody_is_root_and_nothing_builds(stage: str) -> None:
    """The stages that are run end as a numbered user, with `floodway` as entry point, and resolve no packages."""
    last = {line[0]: line[1] for line in _stage(stage)}
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"] == '["floodway"]'
    assert "apt-get" not in TEXT
    runs = [rest for kind, rest in _stage(stage) if kind == "RUN"]
    assert all("--no-cache" in run and "--no-deps" in run for run in runs)


def test_services_run_as_the_images_user() -> None:
    """Compose names the same user, so that volumes and secrets are thought of for one only."""
    assert {service["user"] for service in ours().values()} == {"10001:10001"}


def _healthy(python: Path, url: str, env: Mapping[str, str]) -> int:
    return subprocess.run([python, "-m", "infra.healthy", url], env=env, check=False, timeout=30).returncode


class _Live(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_its_steps_make_an_installation_that_runs(tmp_path: Path) -> None:
    """The same `uv` commands, here: the wheel has all files, and workers and front need no more than its packages."""
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    venv, dist = tmp_path / "venv", tmp_path / "dist"
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON_DOWNLOADS": "never"}
    env = {name: value for name, value in env.items() if not name.startswith(("FLOODWAY", "VIRTUAL_ENV", "PYTHON"))}

    def run(*words: str) -> str:
        done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sync = _command("dependencies", "uv sync")
    run(uv, *sync[1:], "--python", sys.executable)
    build = [str(dist) if word == "/dist" else word for word in _command("wheel", "uv build")]
    run(uv, *build[1:])
    (wheel,) = dist.glob("*.whl")
    install = [word for word in _command("runtime", "uv pip")[1:] if word not in {"--compile-bytecode", "/dist/*.whl"}]
    run(uv, *(str(venv) if word == "/opt/floodway" else word for word in install), str(wheel))

    python = venv / "bin/python"
    env["PATH"] = f"{venv / 'bin'}:/usr/bin:/bin"
    there = tmp_path / "empty"
    there.mkdir()
    assert run(str(venv / "bin/floodway"), "--version").strip()
    assert worker_argv("intake", 0)
    needed = "import agents.worker, agents.http.serve, infra.cli.worker, infra.cli.init, infra.cli.http, streams, os"
    where = "print(os.path.dirname(os.path.dirname(streams.__file__)))"
    done = subprocess.run(
        [python, "-c", f"{needed}; {where}"],
        env=env,
        cwd=there,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    installed = Path(done.stdout.strip())
    assert installed.is_relative_to(venv), "the checkout was used, not the wheel"
    for pattern in ("streams/stores/lua/*.lua", "streams/stores/sql/**/*.sql", "streams/sources/*.toml"):
        wanted = {path.relative_to(ROOT) for path in ROOT.glob(pattern)}
        assert wanted
        assert wanted == {path.relative_to(installed) for path in installed.glob(pattern)}
    server = HTTPServer(("127.0.0.1", 0), _Live)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert _healthy(python, f"{address}/livez", env) == 0
        assert _healthy(python, f"{address}/other", env) == 1
    finally:
        server.shutdown()
        server.server_close()
    assert _healthy(python, address, env) == 1
