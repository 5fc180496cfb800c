"""Every error Floodway raises on purpose, as one tree.

    FloodwayError
    ├── SettingsError            a setting is missing, malformed or at odds with another
    ├── StackError               the embedded stack could not be started
    ├── Unavailable              a dependency did not answer; trying again may help
    │   ├── StockUnavailable     Redis
    │   ├── LedgerUnavailable    Postgres
    │   ├── LogUnavailable       Kafka
    │   ├── TargetUnavailable    who is to be told of something: a webhook, a mail server
    │   └── BreakerOpen          it failed too often lately: it was not even asked
    ├── LogRefused               Kafka answered, and will answer the same again: a person must act
    │   ├── LogForbidden         the credentials are wrong, or may not do this
    │   └── RecordTooLarge       a record is larger than its topic takes
    ├── Fenced                   Redis carries another epoch than the ledger issued; nothing was changed
    ├── TooManyDeadLetters       nearly all that was read could not be taken; the worker stopped before burying it
    ├── TargetRefused            who was to be told something refused it for good, or it may not be sent there
    ├── UnknownThing             an order, SKU or promotion that nobody told us of
    └── Refused                  a command that would break a rule (move more than is free, reopen a closed promotion)

A refusal of an order (out of stock, repeat, closed promotion) is a value, see `streams.messages.Reason`, not an error.
Each message says what happened and, after a semicolon or full stop, what to do next.
"""


class FloodwayError(Exception):
    """Root of all errors raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class SettingsError(FloodwayError):
    """A setting is missing, malformed or at odds with another."""

    exit_code = 2


class StackError(FloodwayError):
    """The embedded stack could not be started or stopped."""


class Unavailable(FloodwayError):
    """A dependency did not answer in time or broke off; the same call may go through later.

    `retry_after_s` tells when it makes sense to try again, where somebody knows.
    """

    exit_code = 75  # sysexits' EX_TEMPFAIL
    retry_after_s: float | None = None


class StockUnavailable(Unavailable):
    """Redis did not answer."""


class LedgerUnavailable(Unavailable):
    """Postgres did not answer."""


class LogUnavailable(Unavailable):
    """Kafka did not answer."""


class TargetUnavailable(Unavailable):
    """A webhook or a mail server did not take a message; it may do so later, `asked_s` from now if it said so."""

    asked_s = 0.0


class TargetRefused(FloodwayError):
    """A message will not be taken however often it is sent there. `reason` is one word for it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class BreakerOpen(Unavailable):
    """A dependency failed too often, or was too slow, so it is left alone for a while."""


class LogRefused(FloodwayError):
    """Kafka refused for good: the same call would be refused again, so it is not tried again."""

    exit_code = 69  # sysexits' EX_UNAVAILABLE


class LogForbidden(LogRefused):
    """Kafka does not know these credentials, or does not let them do this."""

    exit_code = 77  # sysexits' EX_NOPERM


class RecordTooLarge(LogRefused):
    """A record is larger than its topic takes."""


class Fenced(FloodwayError):
    """Redis carries another epoch than the ledger issued, or none; the script refused and changed nothing."""

    exit_code = 3


class TooManyDeadLetters(FloodwayError):
    """Nearly everything that was read could not be taken: more likely our fault than that of all who sent it."""


class UnknownThing(FloodwayError):
    """An order, SKU or promotion that nobody told us of."""

    exit_code = 4


class Refused(FloodwayError):
    """A command that would break a rule of the books; nothing was changed."""

    exit_code = 5
