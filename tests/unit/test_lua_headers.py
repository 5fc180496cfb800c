"""The scripts' headers are their contract with Python: keys, arguments, codes, the fence."""

import inspect
import re

import pytest

from streams.core.stock import Code, End, MoveResult
from streams.stores import scripts, stock_codec, stock_redis

ENUMS = {
    "reserve_batch": {code.name: str(code.value) for code in Code}
    | {"REPLAY": str(stock_codec.REPLAY), "CONFLICT": str(stock_codec.CONFLICT)},
    "move": {result.name: result.value for result in MoveResult},
}
ENDS = {end.name: end.value for end in End}
LOCAL = re.compile(r"^local ([A-Z_0-9]+(?:, [A-Z_0-9]+)*) = (.+?)$", re.MULTILINE)


def locals_of(source: str) -> dict[str, str]:
    """Names in capitals that a script sets at its top level, with the text they are set to."""
    found: dict[str, str] = {}
    for names, values in LOCAL.findall(source):
        found |= dict(zip(names.split(", "), values.split(", "), strict=True))
    return found


@pytest.mark.parametrize("name", scripts.names())
def test_keys_are_all_used_under_their_names(name: str) -> None:
    """Each declared key is used, no other is, and a local that stands for a key has the key's name."""
    script = scripts.load(name)
    used = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", strip_comments(script.source))}
    assert used == set(range(1, len(script.keys) + 1))
    for local, value in locals_of(script.source).items():
        if value.startswith("KEYS"):
            assert local == script.keys[int(value[5:-1]) - 1].replace(":", "_").upper()


@pytest.mark.parametrize("name", scripts.names())
def test_arguments_are_all_used(name: str) -> None:
    """Each declared argument is used and no other is; the first is the epoch, so that no call can leave it out."""
    script = scripts.load(name)
    used = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", strip_comments(script.source))}
    assert used == set(range(1, len(script.args) + 1))
    assert script.args[0] == "epoch"
    assert script.keys[0] == "meta"


@pytest.mark.parametrize("name", scripts.names())
def test_codes_are_those_of_the_script(name: str) -> None:
    """The header's codes are the constants of the script, value by value."""
    script = scripts.load(name)
    constants = {local: value.strip("'") for local, value in locals_of(script.source).items() if "KEYS" not in value}
    for part in ("SLICE", "MAX_UNITS", "BYTE"):
        constants.pop(part, None)
    assert constants == script.codes


@pytest.mark.parametrize("name", ["reserve_batch", "move"])
def test_codes_are_those_of_the_enum(name: str) -> None:
    """Every member of the Python enum is a code of the script with the same value; move adds its refusals."""
    codes = scripts.load(name).codes
    assert codes.items() >= ENUMS[name].items()
    assert name == "move" or codes == ENUMS[name]


def test_letters_are_those_of_the_enum() -> None:
    """Every end's letter in a script is that of `End`, and every end is some script's."""
    told: dict[str, str] = {}
    for name in ("confirm", "release", "expire_due", "retake", "restock"):
        told |= scripts.load(name).codes
    assert told == ENDS


@pytest.mark.parametrize("name", scripts.names())
def test_every_script_checks_the_epoch_before_it_writes(name: str) -> None:
    """The fence stands before the first write, and asks whose run the epoch is of; what sets epochs asks, too."""
    source = strip_comments(scripts.load(name).source)
    fence = source.index("redis.call('HMGET', META, '")
    assert "server_stamp()" in source
    calls = [source.find(f"'{command}'") for command in ("HSET", "HDEL", "ZADD", "ZREM", "UNLINK", "HINCRBY")]
    assert all(call == -1 or call > fence for call in calls)
    assert "FENCED" in source


@pytest.mark.parametrize("name", scripts.names())
def test_every_script_is_called(name: str) -> None:
    """Python calls each script, and no other; arguments are counted where it does."""
    assert f'self._script("{name}", epoch' in inspect.getsource(stock_redis)


def test_no_other_script_is_called() -> None:
    """Every name that Python calls is a file."""
    called = set(re.findall(r'self\._script\("(\w+)"', inspect.getsource(stock_redis)))
    assert called == set(scripts.names())


@pytest.mark.parametrize("name", scripts.names())
def test_server_is_asked_to_be_strict(name: str) -> None:
    """Scripts begin with #!lua and take no flags, all includes are resolved, and no global slips in."""
    source = scripts.load(name).source
    assert source.startswith("#!lua\n")
    assert "-- INCLUDE" not in source
    assert not re.search(r"^\w+ = ", source.replace("from = 1", ""), re.MULTILINE)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (["-- x: does.", "-- KEYS[2] meta: m", "-- RETURNS: 0", "-- CODES: none"], r"KEYS\[2\]"),
        (["-- x: does.", "-- CODES: none"], "RETURNS"),
        (["-- y: does.", "-- RETURNS: 0", "-- CODES: none"], "must have x"),
        (["-- x does"], "no header line"),
    ],
)
def test_a_broken_header_is_refused(header: list[str], fault: str) -> None:
    """A header that breaks the form names its file and what is wrong."""
    with pytest.raises(ValueError, match=fault):
        scripts.parsed("x", header, "")


def strip_comments(source: str) -> str:
    """The script without its comments."""
    return re.sub(r"--[^\n]*", "", source)
