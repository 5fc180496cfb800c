"""How uvloop tells that a connection was reset since it was made: by a RuntimeError without a class of its own."""

_CLOSED = "the handler is closed"


def is_reset(error: BaseException) -> bool:
    """Whether this says so: an outage, where any other RuntimeError is a defect."""
    return isinstance(error, RuntimeError) and _CLOSED in str(error)
