"""What travels through the stages: one or several chunks, and what each stage has found out about their records."""

from dataclasses import dataclass, field

from streams.chunks import Chunk
from streams.core.books import Conflict, StoredDecision
from streams.core.identity import SubmissionKey
from streams.core.intent import Intent
from streams.core.stock import Verdict
from streams.dead_letters import Dead
from streams.messages import Decision


@dataclass(slots=True)
class Batch:
    """Chunks that share round trips. `verdicts` and `decisions` run parallel to `intents` once their stage is past.

    `epoch` is the one that the stock gave the verdicts under; they are worth nothing under another.

    `decided` is what the ledger has of keys that the stock may have forgotten; it is not asked about these orders.

    `give_back` has the order ids of holds that must be released, because the ledger knew an earlier decision.
    """

    chunks: list[Chunk]
    intents: list[Intent]
    dead: list[Dead]
    epoch: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    decided: dict[SubmissionKey, StoredDecision] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    give_back: list[bytes] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.intents) + len(self.dead)

    def absorb(self, other: "Batch") -> None:
        """Append another batch that has passed no stage but decode; order within each partition is kept."""
        assert not self.verdicts
        assert not other.verdicts
        self.chunks += other.chunks
        self.intents += other.intents
        self.dead += other.dead
