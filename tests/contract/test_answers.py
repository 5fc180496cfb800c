"""The contract of answers under idempotency keys, of the fake and of a real server."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from stock_kit import EPOCH, Server, redis_stock

from streams.clock import SystemClock
from streams.errors import StockUnavailable
from streams.stores.answers import FINGERPRINT_BYTES, OWNER_BYTES, Answers, Claim
from streams.stores.answers_fake import FakeAnswers
from streams.stores.answers_redis import RedisAnswers

pytest_plugins = ["stock_fixtures"]

PRINT, OTHER_PRINT = b"p" * FINGERPRINT_BYTES, b"q" * FINGERPRINT_BYTES
ME, YOU = b"m" * OWNER_BYTES, b"y" * OWNER_BYTES
LEASE_S, KEEP_S = 0.15, 0.3


@pytest.fixture(params=["fake", "redis"])
async def answers(request: pytest.FixtureRequest) -> AsyncIterator[Answers]:
    """Each kind, with claims and answers that soon end."""
    made: Answers
    if request.param == "fake":
        made = FakeAnswers(SystemClock(), lease_s=LEASE_S, keep_s=KEEP_S)
    else:
        server: Server = request.getfixturevalue("valkey")
        made = RedisAnswers.connect(
            server.url, timeout_s=2, lease_s=LEASE_S, keep_s=KEEP_S, prefix=f"answers-{os.urandom(4).hex()}:"
        )
    yield made
    await made.close()


async def test_the_first_claim_wins_and_its_answer_is_kept(answers: Answers) -> None:
    """Until there is an answer others hear that it is being made, then they get it; empty or not, byte for byte."""
    assert await answers.claim(b"k", PRINT, ME) == (Claim.MINE, None)
    assert await answers.claim(b"k", PRINT, YOU) == (Claim.IN_FLIGHT, None)
    assert await answers.keep(b"k", PRINT, ME, b"\x00=?\nanswer")
    assert await answers.claim(b"k", PRINT, YOU) == (Claim.ANSWERED, b"\x00=?\nanswer")
    assert await answers.claim(b"other", PRINT, YOU) == (Claim.MINE, None)


async def test_another_request_under_the_key_is_told_apart(answers: Answers) -> None:
    """While the first is in flight and when it is answered."""
    await answers.claim(b"k", PRINT, ME)
    assert (await answers.claim(b"k", OTHER_PRINT, YOU)).claim is Claim.OTHER_REQUEST
    await answers.keep(b"k", PRINT, ME, b"a")
    assert (await answers.claim(b"k", OTHER_PRINT, YOU)).claim is Claim.OTHER_REQUEST


async def test_a_key_given_back_is_free(answers: Answers) -> None:
    """By whoever has it, and by nobody else."""
    await answers.claim(b"k", PRINT, ME)
    assert not await answers.forget(b"k", PRINT, YOU)
    assert (await answers.claim(b"k", PRINT, YOU)).claim is Claim.IN_FLIGHT
    assert await answers.forget(b"k", PRINT, ME)
    assert (await answers.claim(b"k", OTHER_PRINT, YOU)).claim is Claim.MINE


async def test_a_claim_ends_by_itself_and_is_then_no_longer_ours(answers: Answers) -> None:
    """Another takes over; what the first brings late is not kept over the other's, nor does it free the key."""
    await answers.claim(b"k", PRINT, ME)
    await asyncio.sleep(LEASE_S + 0.05)
    assert (await answers.claim(b"k", OTHER_PRINT, YOU)).claim is Claim.MINE
    assert not await answers.keep(b"k", PRINT, ME, b"late")
    assert not await answers.forget(b"k", PRINT, ME)
    assert await answers.keep(b"k", OTHER_PRINT, YOU, b"in time")
    assert (await answers.claim(b"k", OTHER_PRINT, ME)).answer == b"in time"


async def test_an_answer_is_kept_for_its_time(answers: Answers) -> None:
    """Past it the key is free."""
    await answers.claim(b"k", PRINT, ME)
    await answers.keep(b"k", PRINT, ME, b"a")
    await asyncio.sleep(KEEP_S + 0.05)
    assert (await answers.claim(b"k", OTHER_PRINT, YOU)).claim is Claim.MINE


async def test_of_many_at_once_one_has_the_key(answers: Answers) -> None:
    """Fifty claims at the same time."""
    claims = [answers.claim(b"k", PRINT, n.to_bytes(OWNER_BYTES)) for n in range(50)]
    found = [claim.claim for claim in await asyncio.gather(*claims)]
    assert (found.count(Claim.MINE), found.count(Claim.IN_FLIGHT)) == (1, 49)


async def test_answers_and_stock_leave_each_other_alone(valkey: Server) -> None:
    """A stock that is emptied and installed anew on the same server takes no answer along."""
    answers = RedisAnswers.connect(valkey.url, timeout_s=2, lease_s=60, keep_s=60)
    stock = redis_stock(valkey)
    try:
        await answers.claim(b"beside the stock", PRINT, ME)
        await answers.keep(b"beside the stock", PRINT, ME, b"a")
        await stock.install_epoch(EPOCH)
        from uuid import uuid4

        await stock.begin_rebuild(EPOCH + 1, uuid4())
        await stock.install_epoch(EPOCH + 1, refilled=True)
        assert (await answers.claim(b"beside the stock", PRINT, YOU)).answer == b"a"
    finally:
        await asyncio.gather(answers.close(), stock.close())


async def test_a_server_that_is_away_is_told() -> None:
    """As an outage that a repeat may outlive."""
    answers = RedisAnswers.connect("redis://127.0.0.1:1/0", timeout_s=0.5, lease_s=1, keep_s=1)
    with pytest.raises(StockUnavailable):
        await answers.claim(b"k", PRINT, ME)
    await answers.close()
