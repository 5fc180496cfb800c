"""Stage one: raw records to intents, and to dead letters where they are none."""

from streams.chunks import Chunk
from streams.core.decode import MessageDecoder, Undecodable, trace_id
from streams.core.intent import intent
from streams.dead_letters import bury
from streams.intake.batch import Batch
from streams.messages import Submission
from streams.timing import timed_at_once

_decoder = MessageDecoder(Submission)


@timed_at_once("decode")
def decode(chunk: Chunk) -> Batch:
    """A batch of one chunk. Bad records go aside with their reason; their neighbours are not touched by it."""
    batch = Batch([chunk], [], [])
    read, keep, partition = _decoder.decode, batch.intents.append, chunk.partition
    for record in chunk.records:
        found = read(record.value)
        if not isinstance(found, Undecodable):
            trace = trace_id(record.headers) if record.headers else None
            made = intent(found, trace, partition, record.offset)
            if not isinstance(made, Undecodable):
                keep(made)
                continue
            found = made
        batch.dead.append(bury(chunk, record, found))
    return batch
