"""Creates the topics with their partitions and settings, and says when an existing one does not fit."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams import topics
from streams.errors import LogUnavailable, SettingsError


async def create_topics(bootstrap: str, *, partitions: int, replication: int) -> list[str]:
    """Create the topics that are missing; returns their names.

    Raises `SettingsError` when an existing topic has another number of partitions: a key would change its partition,
    so that is for a person to decide.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=30_000)
    try:
        await admin.start()
        wanted = [
            NewTopic(topic.name, partitions, replication, topic_configs=dict(topic.settings)) for topic in topics.ALL
        ]
        response = await admin.create_topics(wanted)
        created = []
        for name, code, *_ in response.topic_errors:
            error = for_code(code)
            if code == 0:
                created.append(name)
            elif error is not TopicAlreadyExistsError:
                raise LogUnavailable(f"Kafka did not create topic {name}: {error.__name__}; see the broker's log.")
        await _check(admin, partitions)
    except (KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka at {bootstrap} did not create the topics ({error!r}); is it running?") from error
    finally:
        await admin.close()
    return created


async def _check(admin: AIOKafkaAdminClient, partitions: int) -> None:
    described = await admin.describe_topics([topic.name for topic in topics.ALL])
    for topic in described:
        found = len(topic["partitions"])
        if found != partitions:
            raise SettingsError(
                f"Topic {topic['topic']} has {found} partitions, FLOODWAY_TOPIC_PARTITIONS is {partitions}; "
                "set it to what the topic has, or move to new topics."
            )
