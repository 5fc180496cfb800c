"""The roles of workers, what each reads, and in which consumer group; without Faust, for whoever looks from outside."""

from streams.topics import NOTIFICATIONS, REPORTED, SUBMITTED, TICKETS

READS = {"intake": (SUBMITTED.name,), "lifecycle": (REPORTED.name,), "notify": (NOTIFICATIONS.name, TICKETS.name)}
"""Topics by role."""
ROLES = tuple(READS)


def group(role: str) -> str:
    """Consumer group of a role."""
    return f"floodway-{role}"
