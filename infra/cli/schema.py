"""`floodway schema`: the published contract."""

from pathlib import Path

from infra.cli.context import out, people
from infra.schema import documents


def schema(*, into: Path = Path("docs"), check: bool = False) -> int:
    """Write the published contract, made from the code: schemas, AsyncAPI document, pages of settings, words, sources.

    Parameters
    ----------
    into
        Where they go.
    check
        Write nothing; exit 1 when a file there is not what the code says.

    """
    stale = [name for name, text in documents().items() if not _same(into / name, text)]
    if check:
        for name in stale:
            people.print(f"{into / name} is not current; run `floodway schema`.")
        return 1 if stale else 0
    for name, text in documents().items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text(text, encoding="utf-8")
        out.print(str(into / name))
    return 0


def _same(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text
