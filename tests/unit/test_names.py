"""Names that people type are those that submissions may carry."""

import msgspec
from builders import submission
from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.decode import MessageDecoder, Undecodable
from streams.core.names import is_promotion_id, is_sku
from streams.messages import NAME, Submission

TEXTS = st.text(max_size=70) | st.from_regex(NAME, fullmatch=True) | st.from_regex(rf"({NAME})[|:\n ]?", fullmatch=True)
_decode = MessageDecoder(Submission).decode


@given(TEXTS)
@example("a|b")
@example("a\n")
@example("x" * 64)
@example("x" * 65)
@example("")
def test_what_may_be_typed_is_what_may_be_submitted(text: str) -> None:
    """A SKU or a promotion by this name is taken by both or by neither."""
    sku = _decode(msgspec.json.encode(submission(lines=((text, 1, 1),))))
    promotion = _decode(msgspec.json.encode(submission(promotion_id=text)))
    assert is_sku(text) is not isinstance(sku, Undecodable)
    assert is_promotion_id(text) is not isinstance(promotion, Undecodable)
