"""The tally finds what is missing and what was announced too often, whatever the totals say."""

from array import array
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from builders import NOW, NOW_MS

from loadtest.tally import Tally, TallyReport, quantile, report_bytes, report_from
from streams.messages import Decision, Outcome, Reason

RUN = "-x"


def announced(
    number: int,
    *,
    replay: bool = False,
    reason: Reason | None = None,
    ms: int = 0,
    run: str = RUN,
    promotion_id: str | None = None,
) -> bytes:
    """A decision as intake announces it, on a submission made `ms` after NOW."""
    decision = Decision(
        order_id=UUID(int=number),
        submission_id=f"S{run}-{number:08d}",
        channel="jd",
        outcome=Outcome.ACCEPTED if reason is None else Outcome.REJECTED,
        decided_at=NOW,
        submitted_at=NOW + timedelta(milliseconds=ms),
        trace_id="0" * 32,
        currency="CNY",
        total=1,
        reason=reason,
        replay=replay,
        promotion_id=promotion_id,
    )
    return msgspec.json.encode(decision)


def counted(sends: Sequence[int], *values: bytes) -> TallyReport:
    """What a tally that is due so many answers makes of these decisions."""
    tally = Tally(RUN, array("H", sends), keep_ids=True)
    tally.add(values, NOW_MS)
    return tally.report(NOW_MS)


def test_all_that_was_due_and_nothing_else() -> None:
    """Kinds are told apart, nothing is missing, nothing repeated, and the report survives the way between processes."""
    tally = Tally(RUN, array("H", [2, 1, 2]), keep_ids=True)
    tally.add([announced(0, promotion_id="p"), announced(1, reason=Reason.OUT_OF_STOCK)], NOW_MS + 5)
    assert tally.left == 3
    repeats = [announced(0, replay=True), announced(2), announced(2, reason=Reason.CONFLICTING_REPEAT)]
    tally.add(repeats, NOW_MS + 7)
    assert tally.left == 0
    found = tally.report(NOW_MS)
    assert (found.decided, found.accepted, found.rejected) == (5, 2, {"out_of_stock": 1})
    assert (found.replayed, found.conflicts, found.foreign) == (1, 1, 0)
    assert (found.missing, found.repeated, found.not_decided_once, found.examples) == (0, 0, 0, {})
    assert found.accepted_by_promotion == {"p": 1}
    assert found.accepted_ids == [str(UUID(int=0)), str(UUID(int=2))]
    assert (found.first_at_ms, found.last_at_ms) == (NOW_MS + 5, NOW_MS + 7)
    assert report_from(report_bytes(found)) == found


def test_a_missing_decision_is_found() -> None:
    """By its id, and also when the number of decisions is right because another came twice."""
    found = counted([1, 1, 1], announced(0), announced(2))
    assert (found.missing, found.repeated) == (1, 0)
    assert found.examples["missing"] == ["S-x-00000001"]
    found = counted([1, 1, 1], announced(0), announced(2), announced(2))
    assert (found.missing, found.repeated) == (1, 1)


def test_a_missing_answer_to_a_repeat_is_found() -> None:
    """A submission sent three times and answered twice is one short."""
    assert counted([3], announced(0), announced(0, replay=True)).missing == 1


def test_a_repeated_decision_is_found() -> None:
    """Beyond what was sent it counts, as often as it comes; within, it does not."""
    found = counted([1, 2], announced(0), announced(0), announced(0), announced(1), announced(1, replay=True))
    assert (found.missing, found.repeated) == (0, 2)
    assert found.examples["repeated"] == ["S-x-00000000"]


def test_two_first_decisions_are_no_decision_and_its_replay() -> None:
    """The number of answers is right, yet a submission was decided twice."""
    found = counted([2], announced(0), announced(0))
    assert (found.missing, found.repeated, found.not_decided_once) == (0, 0, 1)
    assert counted([1], announced(0, replay=True)).not_decided_once == 1


def test_decisions_of_others_are_left_out() -> None:
    """Another run, or a client of the user's own servers, changes nothing."""
    found = counted([1], announced(0), announced(0, run="-y"), announced(7, run="-other"))
    assert (found.decided, found.foreign, found.missing, found.repeated) == (1, 2, 0, 0)


def test_latency_runs_from_the_intended_time() -> None:
    """Quantiles over all of it, and second by second."""
    tally = Tally(RUN, array("H", [1] * 200))
    tally.add([announced(number, ms=-number) for number in range(100)], NOW_MS)
    tally.add([announced(number, ms=0) for number in range(100, 200)], NOW_MS + 1_500)
    found = tally.report(NOW_MS)
    assert found.latency_ms == {"p50": 1_500.0, "p99": 1_500.0, "p99.9": 1_500.0, "max": 1_500.0}
    assert [(s.at_s, s.decided, s.p50_ms, s.p99_ms) for s in found.seconds] == [
        (0, 100, 50.0, 99.0),
        (1, 100, 1_500.0, 1_500.0),
    ]
    assert found.decided_by_slot == {NOW_MS // 100: 100, NOW_MS // 100 + 15: 100}
    assert tally.recent_p99_ms() == 1_500.0


@pytest.mark.parametrize(("q", "value"), [(0.0, 1.0), (0.5, 2.0), (0.99, 3.0), (1.0, 3.0)])
def test_quantiles(q: float, value: float) -> None:
    """The value that so large a part of the others does not exceed; 0 of nothing."""
    assert quantile([1.0, 2.0, 3.0], q) == value
    assert quantile([], q) == 0.0


def test_a_run_in_which_nothing_was_decided_has_a_report() -> None:
    """Everything is missing, and that can be told."""
    report = Tally(RUN, array("H", [1, 2])).report(0)
    assert (report.decided, report.missing, report.seconds, report.decided_by_slot) == (0, 3, [], {})
