"""The transport class that Faust loads for `chunks://`."""

from typing import Any, ClassVar

from faust.transport.drivers.aiokafka import Transport as AIOKafkaTransport

from agents.transport.consumer import ChunkConsumer


class Transport(AIOKafkaTransport):
    """Faust's aiokafka transport with a consumer that hands over chunks; the producer is Faust's own."""

    Consumer: ClassVar[Any] = ChunkConsumer
