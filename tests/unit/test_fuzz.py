"""`floodway fuzz`: a small share of it each time, and that it would find what it is there to find."""

import json
import sys
from collections import Counter
from inspect import CO_OPTIMIZED
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest

from infra.cli.fuzz import fuzz
from loadtest.fuzz import cli, config, edge, messages, mutations, oracle, samples
from loadtest.fuzz.given import Given, tried
from loadtest.fuzz.minimise import smallest
from loadtest.fuzz.run import run_batches
from streams import dead_letters
from streams.core import decode, intent, texts
from streams.core.decode import MessageDecoder
from streams.errors import Refused
from streams.intake.batch import Batch
from streams.messages import Submission

SEED = 7


@pytest.mark.parametrize(
    ("target", "count", "fates"),
    [
        ("messages", 4_000, {"taken", "invalid_field", "not_json", "too_large", "empty"}),
        (
            "sources",
            2_000,
            {"unknown_order", "unknown_code", "missing_field", "invalid_field", "unknown_source", "not_json"},
        ),
        ("config", 160, {"settings taken", "settings refused", "exit 0", "exit 2", "exit 5"}),
        ("cli", 100, {"exit 0", "exit 2", "exit 5", "exit 75"}),
    ],
)
def test_a_share_of_all_that_is_fuzzed_holds(target: str, count: int, fates: set[str]) -> None:
    """Nothing breaks, and what comes out is of every kind: no target is fuzzed with one kind of input only."""
    tally = run_batches(target, SEED, count, processes=1)
    assert not tally.broken, [(f.what, f.smallest, f.replay) for f in tally.findings]
    assert tally.inputs >= count
    assert tally.fates.keys() >= fates


def test_every_line_of_the_edge_is_reached() -> None:
    """Mutations get everywhere in the code that decodes, checks and buries, or a line there is held by nothing."""
    modules = {str(module.__file__): module for module in (decode, texts, intent, dead_letters)}
    reached: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in modules:
            return None
        if event == "line":
            reached.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run_batches("messages", SEED, 6_000, processes=1)
    finally:
        sys.settrace(before)
    missed = {
        f"{Path(file).stem}:{line}"
        for file, module in modules.items()
        for name, line in _lines(module)
        if (file, line) not in reached and name not in NOT_AT_THE_EDGE
    }
    assert missed == set(), sorted(missed)


NOT_AT_THE_EDGE = {"__init__", "count", "fingerprint", "read_letter"}
"""Made once, about more than one message, not asked here, and the reader of dead letters."""
UNFORESEEN = ("except Exception", '"undecodable"')
"""The last resort of the decoder: it must not be reached, and a finding would say if it was."""


def _lines(module: Any) -> set[tuple[str, int]]:
    """Every line of the functions of a module, with the function's name; not what runs when it is imported."""
    found: set[tuple[str, int]] = set()

    def walk(code: Any) -> None:
        for constant in code.co_consts:
            if hasattr(constant, "co_code") and not (code.co_name == "<module>" and constant.co_name.startswith("<")):
                if constant.co_flags & CO_OPTIMIZED:  # a function, not the body of a class
                    lines = {line for _, _, line in constant.co_lines() if line is not None}
                    found.update((constant.co_name, line) for line in lines - {constant.co_firstlineno})
                walk(constant)

    text = Path(module.__file__).read_text(encoding="utf-8")
    walk(compile(text, module.__file__, "exec"))
    written = text.splitlines()
    return {(name, line) for name, line in found if not any(part in written[line - 1] for part in UNFORESEEN)}


def test_the_same_seed_makes_the_same_input() -> None:
    """Else nothing could be had again by its command."""
    assert messages.records(1, 5) == messages.records(1, 5)
    assert messages.records(1, 5) != messages.records(2, 5)
    assert cli.given(Random(3)) == cli.given(Random(3))


def test_a_decoder_that_lets_texts_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it took cannot be read again; the finding is small, and its command finds it again."""
    lenient = MessageDecoder(Submission)
    lenient._wrong_text = lambda found: None
    monkeypatch.setattr("streams.intake.decode._decoder", lenient)
    tally = run_batches("messages", SEED, 2_000, processes=1)
    assert tally.broken["written again it cannot be read"] > 5
    found = tally.findings[0]
    assert len(found.smallest) < 400
    again = run_batches("messages", found.seed, 1, only=found.batch)
    assert found in again.findings
    assert found.replay == f"floodway fuzz messages --seed {SEED} --batch {found.batch}"


def test_an_exception_for_one_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises is cut down to what makes it raise."""

    def raising(found: Submission) -> None:
        if found.promotion_id == "p":
            raise KeyError(found.promotion_id)

    strict = MessageDecoder(Submission)
    monkeypatch.setattr(strict, "decode", _raising(strict.decode, raising))
    monkeypatch.setattr("streams.intake.decode._decoder", strict)
    tally = run_batches("messages", SEED, 2_000, processes=1)
    assert tally.broken["KeyError"] > 0
    assert all('"promotion_id":"p"' in finding.smallest for finding in tally.findings)


def _raising(decode_: Any, check: Any) -> Any:
    def decoding(value: bytes | None) -> Any:
        found = decode_(value)
        if isinstance(found, Submission):
            check(found)
        return found

    return decoding


def test_a_lost_neighbour_and_a_slow_message_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that leaves no trace is noticed, and so is one that takes too long."""
    some = [edge.RawRecord(1, None, json.dumps(samples.submission(Random(1))).encode(), (), True)]
    with monkeypatch.context() as patched:
        patched.setattr(edge, "decode", lambda chunk: Batch([chunk], [], []))
        with pytest.raises(edge.Broken, match="neither taken nor buried"):
            edge.Edge().take("submission", some)
    monkeypatch.setattr(edge, "MOST_CPU_S", 0.0)
    with pytest.raises(edge.Broken, match="processor time"):
        edge.Edge().take("submission", some)


def test_a_command_that_raises_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A traceback, an error that names nothing, a password in it, and control characters."""

    def failing(error: Exception) -> str | None:
        def check(text: str) -> None:
            raise error

        monkeypatch.setattr("infra.cli.stock.parse_duration", check)
        return tried(
            Given(("stock", "check", "--interval", "1s"), {"FLOODWAY_KAFKA_USER": "secret-1"}, naming=("--interval",))
        )[1]

    assert failing(KeyError("x")) == "it raised KeyError: 'x'"
    assert str(failing(Refused("no."))).startswith("its error does not name what is wrong")
    assert failing(Refused("--interval of secret-1.")) == "it printed a password"
    assert str(failing(Refused("--interval " + "x" * 90_000 + "."))) == "None"  # the command cuts it
    assert failing(ValueError("it is wrong")) is None


@pytest.mark.parametrize(
    ("environ", "connect", "wrong"),
    [
        ({}, True, None),
        ({"FLOODWAY_REDIS_URL": "redis://127.0.0.1:x"}, True, None),
        ({"FLOODWAY_POSTGRES_DSN": "postgresql://u@127.0.0.1/d?sslmode=perhaps"}, True, None),
    ],
)
def test_settings_are_taken_or_explained(environ: dict[str, str], wrong: str | None, *, connect: bool) -> None:
    """Good ones lead to an error of a server that is not there, bad ones to one that names the setting."""
    assert config.wrong_with_settings(environ, connect=connect)[0] == wrong


def test_what_is_found_is_made_small() -> None:
    """Nothing can be cut out of what is left."""
    assert smallest(b"xxxxxAxxxxBxxx", lambda cut: b"A" in cut and b"B" in cut) == b"AB"
    assert smallest(("a", "b", "c"), lambda cut: "b" in cut) == ("b",)
    assert smallest(b"abc", lambda cut: False) == b"abc"


@pytest.mark.parametrize(
    ("value", "taken", "corner"),
    [
        (b'{"a":1,"a":2}', True, "a name stands twice"),
        (b"[" * 600, True, "nested deeply"),
        (b'{"submission_id":"s"}', True, None),
        (b"\xff", False, None),
        (b'{"a":1,"a":"\xff"}', True, "a name stands twice"),
    ],
)
def test_only_known_corners_excuse_a_difference(value: bytes, corner: str | None, *, taken: bool) -> None:
    """What is no corner of JSON or its schemas is a finding."""
    assert oracle.corner("submission", value, taken=taken) == corner


def test_all_mutations_are_used() -> None:
    """Each makes something else of a message now and then."""
    changed: Counter[str] = Counter()
    for number in range(300):
        choose = Random(number)
        for mutate in set(mutations.STRUCTURE):
            tree = mutations.Tree(samples.submission(Random(number)))
            before = tree.written()
            mutate(choose, tree)
            changed[mutate.__name__] += tree.written() != before
        for bend in set(mutations.BYTES):
            value = bytearray(b'{"a":[1,2,"\xc3\xa9"]}')
            bend(choose, value)
            changed[bend.__name__] += value != b'{"a":[1,2,"\xc3\xa9"]}'
    assert all(changed.values()), changed


def test_the_command_fails_when_something_broke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, the finding and its command; 0 and the counts otherwise."""
    assert fuzz("messages", count=40, seed=2, processes=1, json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["passed"], said["inputs"], said["findings"]) == (True, 40, [])
    monkeypatch.setattr(edge, "MOST_CPU_S", 0.0)
    assert fuzz("messages", seed=2, batch=0, json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["findings"][0]["replay"] == "floodway fuzz messages --seed 2 --batch 0"
    with pytest.raises(Refused, match="--count 0"):
        fuzz("messages", count=0)
