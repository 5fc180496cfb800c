"""How to reach Kafka: one object, from which every client takes its addresses and credentials."""

import ssl
from dataclasses import dataclass, field
from typing import Any

from streams.errors import SettingsError
from streams.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAccess:
    """Brokers and who we are to them. Its text form has no password."""

    bootstrap: str
    security: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    idempotent: bool = False

    @property
    def uses_sasl(self) -> bool:
        """Whether the brokers ask for a user."""
        return self.security.startswith("SASL")

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS needs, None without it. The brokers' names are always checked. Raises `SettingsError`."""
        if not self.security.endswith("SSL"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"FLOODWAY_KAFKA_CA_FILE={self.ca_file} cannot be read as PEM: {error}.") from error

    def options(self) -> dict[str, Any]:
        """The arguments that all of aiokafka's clients share."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security}
        context = self.ssl_context()
        if context is not None:
            options["ssl_context"] = context
        if self.uses_sasl:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.user
            options["sasl_plain_password"] = self.password
        return options


Brokers = str | KafkaAccess
"""A bare `host:port,…` is a broker that asks for nothing, and of which nothing is asked."""


def access(settings: Settings) -> KafkaAccess:
    """The access that the settings describe."""
    return KafkaAccess(
        bootstrap=settings.kafka_bootstrap,
        security=settings.kafka_security,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        user=settings.kafka_user,
        password=settings.kafka_password,
        ca_file=settings.kafka_ca_file,
        idempotent=settings.kafka_idempotent,
    )


def access_to(brokers: Brokers) -> KafkaAccess:
    """The access itself, also where only an address was given."""
    return brokers if isinstance(brokers, KafkaAccess) else KafkaAccess(bootstrap=brokers)
