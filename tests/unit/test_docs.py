"""What the documents point at is there."""

import re
from pathlib import Path

import pytest

from infra.cli import app
from loadtest.drills.table import DRILLS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "infra/decisions").glob("*.md"))]
COMMANDS_OF = {name: [one for one in app[name] if one[0] != "-"] for name in app if name[0] != "-"}
"""Of each command those behind it; none but of a group."""
ALL_COMMANDS = {f"{name} {one}".strip() for name, behind in COMMANDS_OF.items() for one in behind or [""]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file or folder of the project."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"


def test_what_proves_a_claim_is_a_test() -> None:
    """Each test file that the explanation names exists."""
    named = re.findall(
        r"`((?:unit|contract|integration|acceptance)/test_\w+\.py)`", (ROOT / "docs/how-it-works.md").read_text()
    )
    assert len(named) >= 7
    for name in named:
        assert (ROOT / "tests" / name).is_file(), name


def _named(page: Path) -> set[str]:
    """Each `floodway …` at the start of a line, with the command of a group after its group."""
    lines = re.findall(r"^floodway (\S+)(?: (\S+))?", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {f"{name} {second}" if COMMANDS_OF.get(name) else name for name, second in lines}


def test_commands_of_the_readme_exist() -> None:
    """Each `floodway …` of the README is a command."""
    used = _named(ROOT / "README.md")
    assert len(used) >= 7
    assert used <= ALL_COMMANDS


def test_every_command_is_told_of_and_no_other() -> None:
    """The page of commands has each, in a line of its own."""
    assert _named(ROOT / "docs/commands.md") == ALL_COMMANDS


def test_every_drill_is_told_of() -> None:
    """The page has each drill with what it proves, as the table in the code says it."""
    page = (ROOT / "docs/drills.md").read_text(encoding="utf-8")
    for drill in DRILLS.values():
        assert f"| `{drill.name}` | {drill.proves} |" in page, drill.name


def test_every_decision_is_listed() -> None:
    """The index has each record, under the title that the record has."""
    index = (ROOT / "infra/decisions/README.md").read_text(encoding="utf-8")
    for record in sorted((ROOT / "infra/decisions").glob("0*.md")):
        title = record.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"[{title}]({record.name})" in index, record.name
