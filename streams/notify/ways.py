"""The ways out: to a webhook, a mail server, or the worker's log."""

import logging
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from streams.core.sinks import Logged, Mail, Target, Webhook
from streams.core.wording import Rendered
from streams.notify.mail import MailSink
from streams.notify.webhook import WebhookSink

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """A way out."""

    async def send(self, message: Rendered, at: str) -> None:
        """Deliver a message. Raises `TargetUnavailable` or `TargetRefused`."""
        ...


class LogSink:
    """Writes to the worker's log."""

    async def __aenter__(self) -> "LogSink":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to give back."""

    async def send(self, message: Rendered, at: str) -> None:
        """Write one line."""
        logger.warning("tell %s (%s): %s", message.buyer_id or "people on duty", message.delivery_id, message.subject)


def open_sink(target: Target, *, private: bool) -> AbstractAsyncContextManager[Sink]:
    """The way to a target."""
    if isinstance(target, Webhook):
        return WebhookSink(target, private=private)
    if isinstance(target, Mail):
        return MailSink(target)
    assert isinstance(target, Logged)
    return LogSink()
