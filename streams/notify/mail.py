"""Mail by SMTP, one connection a message, in a thread: the standard library's client is the best tested there is.

A server that says 4xx, or nothing, is asked again (`TargetUnavailable`); 5xx is a refusal. The `Message-ID` is the same
for the same message, so mailboxes can drop what comes twice.
"""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from types import TracebackType
from typing import Self

from streams.core.signing import webhook_id
from streams.core.sinks import ADDRESS, Mail
from streams.core.wording import Rendered
from streams.errors import TargetRefused, TargetUnavailable


class MailSink:
    """One target."""

    def __init__(self, target: Mail) -> None:
        self._target = target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is kept between messages."""

    async def send(self, message: Rendered, at: str) -> None:
        """Deliver a message. Raises `TargetUnavailable` or `TargetRefused`."""
        mail = composed(self._target, message)
        await asyncio.to_thread(self._send, mail)

    def _send(self, mail: EmailMessage) -> None:
        target = self._target
        try:
            with self._connected() as server:
                if target.security == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if target.user:
                    server.login(target.user, target.password)
                server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            self._refuse(max(codes, default=550), str(error.recipients))
        except smtplib.SMTPResponseException as error:
            self._refuse(error.smtp_code, f"{error.smtp_code} {error.smtp_error!r}")
        except smtplib.SMTPNotSupportedError as error:
            raise TargetRefused("not_supported", f"{target.name}: {error}") from error
        except (smtplib.SMTPException, OSError) as error:
            words = str(error) or type(error).__name__
            raise TargetUnavailable(f"{target.name} did not take it: {words[:300]}") from error

    def _connected(self) -> smtplib.SMTP:
        target, timeout_s = self._target, self._target.bounds.timeout_s
        if target.security == "tls":
            return smtplib.SMTP_SSL(target.host, target.port, timeout=timeout_s, context=ssl.create_default_context())
        return smtplib.SMTP(target.host, target.port, timeout=timeout_s)

    def _refuse(self, code: int, words: str) -> None:
        # 5xx of a login too: a wrong password is mended by a person, and tried in vain it may lock the account.
        if code >= 500:
            raise TargetRefused("refused", f"{self._target.name} answered {words[:300]}")
        raise TargetUnavailable(f"{self._target.name} answered {words[:300]}")


def composed(target: Mail, message: Rendered) -> EmailMessage:
    """The mail. Raises `TargetRefused` when a buyer's id makes no address."""
    to = [one.replace("{buyer_id}", message.buyer_id) for one in target.to]
    for address in to:
        if ADDRESS.fullmatch(address) is None or not address.isascii():
            raise TargetRefused("no_address", f"{address[:80]!r} is no address of mail")
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = target.sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{webhook_id(message.delivery_id)}@{target.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["Content-Language"] = message.language
    mail.set_content(message.text)
    return mail
