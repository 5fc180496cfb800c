"""`floodway secrets`: the passwords of a Compose installation."""

from pathlib import Path

from infra.cli.context import out, people, print_json
from infra.passwords import make_passwords


def secrets(*, into: Path = Path(".secrets"), json: bool = False) -> None:
    """Make the passwords that docker-compose.yml needs, each in a file; those that are there stay.

    Nothing is printed but their names. `http_token` is the token for the HTTP front, `grafana_password` that of the
    user `admin` in Grafana.

    Parameters
    ----------
    into
        The directory, closed to others; docker-compose.yml looks into `.secrets`.
    json
        Print one JSON object.

    """
    made = make_passwords(into)
    if json:
        print_json({"directory": into, "made": made})
        return
    for name in made:
        out.print(str(into / name))
    if not made:
        people.print(f"All were there; to make them anew, delete {into} and the volumes that know them.")
