"""`floodway kafka`: Apache Kafka on this machine."""

from infra.cli.context import out, people, print_json
from infra.embedded import kafka


def install(*, json: bool = False) -> None:
    """Bring Apache Kafka's jars from Maven Central into the cache, unless they are there; `up` does it by itself.

    Needs Java 17 or newer and Maven.

    Parameters
    ----------
    json
        Print one JSON object.

    """
    if not kafka.jars_dir().is_dir():
        people.print(f"Bringing Apache Kafka {kafka.version()} …")
    directory = kafka.install()
    if json:
        print_json({"version": kafka.version(), "jars": directory})
    else:
        out.print(f"Apache Kafka {kafka.version()} is in {directory}.")
