"""Kafka protocol, Redis, PostgreSQL and a replica on any machine, from wheels, as children of this process."""

from infra.embedded.addresses import Addresses, Broker, Part, Standby
from infra.embedded.children import spawn
from infra.embedded.stack import Stack
from infra.embedded.state import running
from streams.errors import StackError

__all__ = ["Addresses", "Broker", "Part", "Stack", "StackError", "Standby", "running", "spawn"]
