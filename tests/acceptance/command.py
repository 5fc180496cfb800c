"""The command line as people and scripts use it: a process of its own, told of the servers by its environment."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.embedded import Stack

FLOODWAY = str(Path(sys.executable).with_name("floodway"))


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on standard output."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """The JSON values on standard output, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The error, which must be all that was written: one line, no traceback."""
        assert not self.out, self.out
        assert self.err.startswith("floodway: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("floodway: ").rstrip("\n")


@dataclass(frozen=True)
class CommandLine:
    """Runs `floodway` in a directory where no stack of its own is found."""

    directory: Path
    environ: Mapping[str, str]

    @classmethod
    def of(cls, stack: Stack, directory: Path) -> "CommandLine":
        """Commands for this stack."""
        return cls(directory, {**os.environ, **stack.addresses.environment()})

    def __call__(self, *argv: str | Path, stdin: str = "") -> Said:
        """Run one command to its end."""
        done = subprocess.run(
            [FLOODWAY, *map(str, argv)],
            cwd=self.directory,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)


def measured(directory: Path, *argv: str) -> tuple[int, dict[str, Any], str]:
    """Run a command that starts a stack of its own; its exit code, its JSON, and what it wrote for people."""
    done = subprocess.run(
        [FLOODWAY, *argv, "--json"], cwd=directory, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout), done.stderr
