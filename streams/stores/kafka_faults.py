"""Kafka's errors in our terms: what may go through later, and what is refused for good.

Retriable is what a broker that comes back, a new leader or a new connection mends. What stays as it is however often
it is tried ends the caller with a message instead: to try again for ever would look like an outage.
"""

from aiokafka import errors as kafka
from aiokafka.conn import collect_hosts, create_conn

from streams.errors import FloodwayError, LogForbidden, LogRefused, LogUnavailable, RecordTooLarge, UnknownThing
from streams.stores.kafka_access import KafkaAccess

FORBIDDEN = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.ClusterAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.IllegalSaslStateError,
    kafka.SaslAuthenticationFailed,
    kafka.SecurityDisabled,
    kafka.TopicAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.UnsupportedSaslMechanismError,
)
TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.RecordTooLargeError)
REFUSED = (
    kafka.IncompatibleBrokerVersion,
    kafka.InvalidConfigurationError,
    kafka.InvalidPartitionsError,
    kafka.InvalidReplicationAssignmentError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidRequestError,
    kafka.InvalidRequiredAcksError,
    kafka.InvalidTimestampError,
    kafka.PolicyViolationError,
    kafka.UnsupportedCodecError,
    kafka.UnsupportedForMessageFormatError,
    kafka.UnsupportedVersionError,
)
UNKNOWN = (kafka.UnknownTopicOrPartitionError, kafka.InvalidTopicError)

WHY_TIMEOUT_MS = 5_000


def explain(error: BaseException, what: str) -> FloodwayError:
    """The error to raise instead. `what` says what did not happen, as in `Kafka did not …`."""
    said = f"Kafka did not {what}: {error!r}"
    if isinstance(error, FORBIDDEN):
        return LogForbidden(
            f"{said}. Check FLOODWAY_KAFKA_USER and its password, and what the broker's ACLs let that user do."
        )
    if isinstance(error, TOO_LARGE):
        return RecordTooLarge(f"{said}. Raise max.message.bytes of the topic, or send less at a time.")
    if isinstance(error, UNKNOWN):
        return UnknownThing(f"{said}. Create the topics with `floodway init`.")
    if isinstance(error, REFUSED):
        return LogRefused(f"{said}. Trying again will not help; see the broker's log.")
    return LogUnavailable(f"{said}.")


async def why_unreachable(brokers: KafkaAccess, error: BaseException) -> FloodwayError:
    """Why no broker could be reached. aiokafka says only that it could not; we ask once more, and listen."""
    found: BaseException = error
    if brokers.security != "PLAINTEXT" and isinstance(error, kafka.KafkaConnectionError):
        options = brokers.options()
        host, port, _ = collect_hosts(options.pop("bootstrap_servers"), randomize=False)[0]
        try:
            connection = await create_conn(host, port, request_timeout_ms=WHY_TIMEOUT_MS, **options)
            connection.close()
        except (TimeoutError, kafka.KafkaError, OSError) as told:
            found = told
    if isinstance(found, FORBIDDEN):
        return explain(found, f"let {brokers.user!r} in at {brokers.bootstrap}")
    return LogUnavailable(
        f"Kafka at {brokers.bootstrap} does not answer ({found}); is it running, and is its listener "
        f"{brokers.security}?"
    )
