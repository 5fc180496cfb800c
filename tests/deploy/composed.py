"""docker-compose.yml as Docker Compose itself reads it: with its own program, which needs no engine for that."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"


def tool(name: str) -> str:
    """A program of the virtual environment."""
    return str(Path(sys.executable).parent / name)


@cache
def compose() -> dict[str, Any]:
    """The whole model, all profiles, with everything merged and every path absolute."""
    argv = [tool("docker-compose"), "--file", str(FILE), "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning: a variable that is not set, a key that is obsolete
    model: dict[str, Any] = json.loads(done.stdout)
    return model


def services() -> dict[str, dict[str, Any]]:
    """The services by name."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    """Those that run our own image."""
    return {name: service for name, service in services().items() if "build" in service}


def mounted(name: str) -> dict[str, Path]:
    """Path in the container to path in the checkout, for all that a service mounts from here."""
    mounts = services()[name].get("volumes", [])
    return {mount["target"]: Path(mount["source"]) for mount in mounts if mount["type"] == "bind"}


def on_this_machine(name: str, words: list[str], more: dict[str, str]) -> list[str]:
    """A service's command with the container's paths, and `more`, replaced by what is here."""
    paths = {target: str(source) for target, source in mounted(name).items()} | more
    replaced = []
    for word in words:
        for target, source in sorted(paths.items(), key=lambda pair: -len(pair[0])):
            word = word.replace(target, source)  # noqa: PLW2901
        replaced.append(word)
    return replaced
