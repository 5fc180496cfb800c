"""The plan (who is told of what) and the texts, from files: those that come along, and one's own."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from streams.core.sinks import Plan, read_plan
from streams.core.wording import Wordings, languages_of, read_wording
from streams.errors import SettingsError
from streams.settings import Settings

BUILT_IN = "notify.toml"


def load_wordings(folder: str | None = None) -> Wordings:
    """The texts that come along, and those in `folder`, which win. Raises `SettingsError`."""
    found = _folder(files("streams.notify") / "templates")
    if folder is not None:
        if not Path(folder).is_dir():
            raise SettingsError(
                f"FLOODWAY_NOTIFY_TEMPLATES_DIR={folder} is no folder; make it, or leave the setting out."
            )
        found = {**found, **_folder(Path(folder))}
    return found


def load_plan(file: str | None, environ: Mapping[str, str], wordings: Wordings) -> Plan:
    """The plan in a file, or the one that comes along. Raises `SettingsError` with file and line."""
    path = files("streams.notify") / BUILT_IN if file is None else Path(file)
    return read_plan(_text(path), path.name, environ, languages_of(wordings))


def load(settings: Settings, environ: Mapping[str, str]) -> tuple[Plan, Wordings]:
    """Both, as the settings name them."""
    wordings = load_wordings(settings.notify_templates_dir)
    return load_plan(settings.notify_file, environ, wordings), wordings


def _folder(folder: Traversable) -> Wordings:
    texts = [one for one in sorted(folder.iterdir(), key=lambda f: f.name) if one.name.endswith(".txt")]
    return dict(read_wording(_text(one), one.name) for one in texts)


def _text(file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}; it must be a readable file in UTF-8.") from error
