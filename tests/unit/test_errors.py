"""The tree of errors is as it is drawn, and its exit codes tell them apart."""

import inspect
import re
from typing import Any

from streams import errors

LINE = re.compile(r"^ {4}((?:│   |    |[├└]── )*)([A-Z]\w+)(?:  .*)?$")


def drawn() -> dict[str, str]:
    """Each class in the module's docstring with its parent there."""
    parents: dict[str, str] = {}
    way: list[str] = []
    for found in filter(None, map(LINE.match, (errors.__doc__ or "").splitlines())):
        depth = len(found[1]) // 4
        del way[depth:]
        parents[found[2]] = way[-1] if way else "Exception"
        way.append(found[2])
    return parents


def classes() -> dict[str, type[Any]]:
    """Each class that is in the module."""
    return {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}


def test_the_tree_is_as_drawn() -> None:
    """Every class stands in the drawing below its base class, and nothing else does."""
    assert drawn() == {name: kind.__base__.__name__ for name, kind in classes().items() if kind.__base__}
    assert len(drawn()) >= 10


def test_every_class_says_what_it_means() -> None:
    """An error's docstring is read by people who met it."""
    assert all(kind.__doc__ for kind in classes().values())


def test_exit_codes_tell_apart_what_a_script_would_treat_apart() -> None:
    """No two kinds of error with a code of their own share it; none is 0; all outages are EX_TEMPFAIL."""
    own = {name: kind.exit_code for name, kind in classes().items() if "exit_code" in vars(kind)}
    assert len(set(own.values())) == len(own)
    assert own == {
        "FloodwayError": 1,
        "SettingsError": 2,
        "Fenced": 3,
        "UnknownThing": 4,
        "Refused": 5,
        "LogRefused": 69,
        "LogForbidden": 77,
        "Unavailable": 75,
    }
    assert {k.exit_code for k in classes().values() if issubclass(k, errors.Unavailable)} == {75}
