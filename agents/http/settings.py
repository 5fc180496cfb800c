"""Settings of the HTTP front, read from the environment once, checked once, then frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from streams.core.links import LEAST_KEY
from streams.errors import SettingsError
from streams.settings import check_numbers, masked, read

PREFIX = "FLOODWAY_HTTP_"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
MAX_LIVES_S = 86_400.0
MAX_LINK_DAYS = 3_653.0
_SECRET = frozenset({"tokens", "link_keys"})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HttpSettings:
    """What can be set of one front process. Limits are each process' own. Its text form hides tokens and passwords."""

    host: str = "127.0.0.1"
    """Where to listen; anything but loopback needs tokens."""
    port: int = 8080
    """Where to listen. Several processes may share it."""
    tls_cert_file: str | None = None
    """PEM file with the certificate chain; TLS is spoken when it is set."""
    tls_key_file: str | None = None
    """PEM file with the certificate's key."""
    tokens: str | None = None
    """API tokens, separated by `;`, each as a line of the tokens file; see docs/http.md. Hashes only."""
    tokens_file: str | None = None
    """A file of API tokens, one a line; read when a process starts."""

    link_keys: str | None = None
    """Keys that sign links for buyers, 32 random characters or more each, separated by commas; the first one makes."""
    link_days: float = 90.0
    """A link for a buyer is good for so long."""
    public_url: str | None = None
    """How buyers reach the front, as in https://orders.shop.example: links begin with it."""

    redis_url: str | None = None
    """Where answers under idempotency keys are kept; without one where the stock is. About 200 bytes each."""
    idempotency_ttl_s: float = 3_600.0
    """An answer under an idempotency key is kept for so long."""

    rate_per_s: float = 20_000.0
    """Orders and reads that one token gets in a second, unless its line says otherwise."""
    rate_burst_s: float = 2.0
    """So many seconds of its rate a token may use at once."""
    batch_max_bytes: int = 33_554_432
    """The largest batch."""
    batch_max_orders: int = 50_000
    """The longest batch."""
    backlog_max_bytes: int = 67_108_864
    """Orders handed to Kafka and not confirmed: above it batches are read no further, single orders get 503."""
    concurrency_max: int = 512
    """Requests in hand at a time, without those that wait for a decision or stream events; above it 503."""
    waiters_max: int = 1_000
    """Requests that wait for a decision; above it 503."""
    streams_max: int = 1_000
    """Streams of events; above it 503."""
    connections_max: int = 4_000
    """Connections; above it 503 and the connection is closed."""

    head_timeout_s: float = 10.0
    """A connection gets so long to send a request's line and headers."""
    idle_timeout_s: float = 60.0
    """A connection is kept for so long without a request."""
    body_timeout_s: float = 10.0
    """A body may stand still for so long."""
    batch_timeout_s: float = 120.0
    """A batch may take so long in all."""
    append_timeout_s: float = 10.0
    """Kafka gets so long to confirm; past it the answer is 503, and the order may stand there or not."""
    request_timeout_s: float = 15.0
    """Anything but a batch, a wait and a stream is given up with 503 after so long."""
    wait_max_s: float = 30.0
    """The longest wait for a decision; a longer one that is asked for is cut to it."""
    stream_max_s: float = 3_600.0
    """A stream of events ends after so long, and its reader comes again."""
    heartbeat_s: float = 15.0
    """A stream says so often that it lives, and looks into the ledger."""
    drain_timeout_s: float = 10.0
    """When told to end, requests in hand get so long."""

    def __post_init__(self) -> None:
        check_numbers(self, PREFIX)
        self._relation("append_timeout_s", "request_timeout_s", "a request must outlive its append")
        self._relation("request_timeout_s", "idempotency_ttl_s", "an answer must outlive the request that makes it")
        self._relation("request_timeout_s", "batch_timeout_s", "a batch takes longer than an order")
        self._relation("heartbeat_s", "stream_max_s", "a stream must live to say so")
        if self.idempotency_ttl_s > MAX_LIVES_S:
            raise SettingsError(
                f"{PREFIX}IDEMPOTENCY_TTL_S={self.idempotency_ttl_s} is over a day; Redis would fill up."
            )
        if self.link_keys is not None and min(map(len, self.link_keys.split(","))) < LEAST_KEY:
            raise SettingsError(f"{PREFIX}LINK_KEYS has a key of less than {LEAST_KEY} characters; make a longer one.")
        if self.link_days > MAX_LINK_DAYS:
            raise SettingsError(f"{PREFIX}LINK_DAYS={self.link_days} is over {MAX_LINK_DAYS:g}, ten years.")
        if not self.port < 65_536:
            raise SettingsError(f"{PREFIX}PORT={self.port} is no port.")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise SettingsError(f"{PREFIX}TLS_CERT_FILE and {PREFIX}TLS_KEY_FILE go together; set both or none.")

    def __repr__(self) -> str:
        return f"HttpSettings({', '.join(f'{f.name}={shown(f.name, getattr(self, f.name))!r}' for f in fields(self))})"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return self.host in LOOPBACK

    def _relation(self, left: str, right: str, why: str) -> None:
        a, b = getattr(self, left), getattr(self, right)
        if not a < b:
            raise SettingsError(f"{PREFIX}{left.upper()}={a} must be < {PREFIX}{right.upper()}={b}: {why}.")


def shown(name: str, value: object) -> object:
    """The value of a setting as it may be shown."""
    return "***" if name in _SECRET and value else masked(name, value)


def load_http(environ: Mapping[str, str] | None = None, **overrides: str | float | bool | None) -> HttpSettings:
    """Read the settings from `environ` (the process' own by default); `overrides` win. Raises `SettingsError`."""
    return read(HttpSettings, PREFIX, environ, **overrides)
