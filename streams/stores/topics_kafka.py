"""Creates the topics with their partitions and settings, and says when an existing one does not fit."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from streams import topics
from streams.errors import SettingsError
from streams.stores.kafka_access import Brokers, access_to
from streams.stores.kafka_faults import explain, why_unreachable


async def create_topics(brokers: Brokers, *, partitions: int, replication: int, min_insync: int = 1) -> list[str]:
    """Create the topics that are missing; returns their names.

    Raises `SettingsError` when an existing topic has another number of partitions: a key would change its partition,
    so that is for a person to decide.
    """
    brokers = access_to(brokers)
    admin = AIOKafkaAdminClient(**brokers.options(), request_timeout_ms=30_000)
    try:
        await admin.start()
        more = {"min.insync.replicas": str(min_insync)} if min_insync > 1 else {}
        wanted = [
            NewTopic(topic.name, partitions, replication, topic_configs={**topic.settings, **more})
            for topic in topics.ALL
        ]
        response = await admin.create_topics(wanted)
        created = []
        for name, code, *_ in response.topic_errors:
            error = for_code(code)
            if code == 0:
                created.append(name)
            elif error is not TopicAlreadyExistsError:
                raise explain(error(), f"create topic {name}")
        await _check(admin, partitions)
    except KafkaConnectionError as error:
        raise await why_unreachable(brokers, error) from error
    except (KafkaError, OSError) as error:
        raise explain(error, f"create the topics at {brokers.bootstrap}") from error
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
