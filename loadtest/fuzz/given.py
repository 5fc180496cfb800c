"""One input to the program: arguments, environment and files; and whether what came of it is how it should be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from loadtest.fuzz.minimise import smallest
from loadtest.fuzz.program import Ran, Stopped, run, sandbox
from streams.errors import FloodwayError

P = TypeVar("P", int, str)
T = TypeVar("T", str, bytes)

CODES = frozenset({0, 1, 2, 3, 4, 5, 69, 74, 75, 77, 130})
"""The exit codes there are, see docs/fuzzing.md; 1 is also that of a check that found something."""
SECRET = "secret-1"  # noqa: S105 - it is there to be looked for
MOST_SAID = 4_000
"""Characters of an error. A user who gave a megabyte must not get it back."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class Given:
    """`naming` are words of which the error, if it is one, must have one; without any it may say what it likes."""

    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    naming: tuple[str, ...] = ()
    with_stores: bool = False

    def shows_secret(self) -> bool:
        """Whether the password stands where it is none: among the arguments, or in a file."""
        return SECRET in "".join(self.argv) or any(SECRET.encode() in text for text in self.files.values())

    def text(self) -> str:
        """For people."""
        around = {"environment": dict(self.environ), "files": dict(self.files)}
        said = "".join(f"; {what} {value!r}" for what, value in around.items() if value)
        return f"floodway {self.argv!r}{said}"


def tried(given: Given) -> tuple[Ran, str | None]:
    """Run it in a directory of its own; what came of it, and what is wrong with that."""
    with sandbox(with_stores=given.with_stores) as directory:
        for name, content in given.files.items():
            (directory / name).write_bytes(content)
        (directory / "a-directory").mkdir()
        ran = run(given.argv, given.environ)
        return ran, wrong_with(ran, given.naming, knows_secret=given.shows_secret())


def wrong_with(ran: Ran, naming: tuple[str, ...] = (), *, knows_secret: bool = False) -> str | None:
    """What is wrong with how the program ended, in few words and the detail; None if nothing is.

    `knows_secret`: the password stood where it is none, and may be told.
    """
    if ran.error is not None:
        return f"it raised {type(ran.error).__name__}: {ran.error}"
    if ran.code not in CODES:
        return f"its exit code is {ran.code}"
    said = ran.out + ran.err
    if "Traceback" in said:
        return "it printed a traceback"
    if SECRET in said and not knows_secret:
        return "it printed a password"
    if ran.code in {0, 1, 130}:
        return None if ran.code != 1 or said.strip() else "it failed without a word"
    return wrong_with_words(ran.err, naming, begins="floodway: ")


def wrong_with_words(said: str, naming: tuple[str, ...], *, begins: str = "") -> str | None:
    """What is wrong with an error's text."""
    if not re.search(rf"^{begins}\S", said, re.MULTILINE):
        return f"its error says nothing: {said!r}"
    if len(said) > MOST_SAID:
        return f"its error has {len(said)} characters"
    if _CONTROLS.search(said):
        return f"its error sends control characters to the terminal: {said!r}"
    if naming and not any(name in said for name in naming):
        return f"its error does not name what is wrong: {said!r}"
    return None


def made_small(given: Given, what: str) -> Given:
    """The smallest of its kind that is wrong in the same way."""

    def still(other: Given) -> bool:
        found = tried(other)[1]
        return found is not None and found.partition(":")[0] == what.partition(":")[0]

    given = replace(given, argv=smallest(given.argv, lambda argv: still(replace(given, argv=argv)), tries=200))
    for name in given.environ:
        less = {key: value for key, value in given.environ.items() if key != name}
        if still(replace(given, environ=less)):
            given = replace(given, environ=less)
    return _with_less_text(given, still)


def _with_less_text(given: Given, still: Callable[[Given], bool]) -> Given:
    for at in range(len(given.argv)):
        given = _with_word(given, at, smallest(given.argv[at], _trying(_with_word, given, at, still), tries=100))
    for name in given.files:
        given = _with_file(given, name, smallest(given.files[name], _trying(_with_file, given, name, still), tries=400))
    return given


def _trying(
    put: Callable[[Given, P, T], Given], given: Given, place: P, still: Callable[[Given], bool]
) -> Callable[[T], bool]:
    return lambda cut: still(put(given, place, cut))


def _with_word(given: Given, at: int, word: str) -> Given:
    return replace(given, argv=(*given.argv[:at], word, *given.argv[at + 1 :]))


def _with_file(given: Given, name: str, text: bytes) -> Given:
    return replace(given, files={**given.files, name: text})


def harmless(word: str) -> str:
    """The same word, if it leads nowhere out of the sandbox as a path, and can be an argument."""
    word = word.replace("\0", "")
    if re.match(r"(--?[\w-]+=)?/(?!(nothing|dev/(null|full))\b)", word) or ".." in word or word.startswith("~"):
        return word.replace("/", "_").replace("..", "._").replace("~", "_")
    return word


def is_ours(error: BaseException | None) -> bool:
    """Whether an error is one that says what to do; none is, too."""
    return error is None or (isinstance(error, FloodwayError) and not isinstance(error, Stopped))
