"""What the command line's commands share."""

from pathlib import Path

import pytest

from infra.cli.context import SERVERS, out, print_table, settings
from streams.errors import SettingsError


def test_ids_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Ids come from outside: what looks like markup or an emoji stays text, in lines and in tables."""
    out.print("[/x] [bold]y[/bold] a:x:b")
    print_table(["id"], [("[/b]",), ("Y-12:x:y",)])
    said = capsys.readouterr().out
    assert "[/x] [bold]y[/bold] a:x:b" in said
    assert "[/b]" in said
    assert "Y-12:x:y" in said


def test_without_servers_a_command_says_how_to_get_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stack here and no address set: an error that names the command to run and the variable to set."""
    for name in SERVERS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match=r"floodway up.*FLOODWAY_KAFKA_BOOTSTRAP"):
        settings(tmp_path)


def test_servers_of_ones_own_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address in the environment is taken, without a stack here."""
    monkeypatch.setenv("FLOODWAY_KAFKA_BOOTSTRAP", "kafka.example:9092")
    assert settings(tmp_path).kafka_bootstrap == "kafka.example:9092"
