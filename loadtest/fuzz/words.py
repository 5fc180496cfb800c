"""Odd words: what may stand where a command line, an environment or a file has a value. None has a NUL."""

from random import Random

_NUMBERS = (
    *(
        "0",
        "1",
        "-1",
        "-0",
        "+1",
        "2",
        "007",
        "1_000",
        "1,000",
        "1.0",
        "1.5",
        "1e3",
        "1e400",
        "-1e400",
        "nan",
        "NaN",
        "inf",
    ),
    *(
        "-inf",
        "Infinity",
        "0x10",
        "9" * 20,
        "9" * 400,
        "9" * 5_000,
        "-" + "9" * 30,
        "1e-400",
        "٣",
        "½",
        "1 ",
        " 1",
        "True",
    ),
    *(
        "4999",
        "5000",
        "5001",
        "2147483648",
        "9007199254740993",
        "1000000000000",
        "1000000000001",
        ".5",
        "5.",
        "1e",
        "--1",
    ),
)
_TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "a\nb",
        "\x1b[31m",
        "\x7f",
        "é",
        "杭州",
        "🛒",
        "\u202e",
        "\ufeff",
        "\udcff",
        "\udc80a",
        "a" * 300,
    ),
    *(
        "a" * 20_000,
        "-",
        "--",
        "---",
        "-x",
        "--json",
        "=",
        "a=b",
        "==",
        "%s",
        "%n",
        "{}",
        "{0}",
        "$HOME",
        "`id`",
        "[bold]",
        "[/]",
    ),
    *(
        ":emoji:",
        "[red]x",
        "\\",
        "'",
        '"',
        "null",
        "None",
        "true",
        "FALSE",
        "yes",
        "on",
        "*",
        "?",
        "~",
        "@x",
        "#",
        ";",
        "a|b",
        "a:b",
    ),
    *(".", "./x", "nothing.csv", "nothing.ndjson", "a b", "/dev/null", "/dev/full"),
)
_DURATIONS = (
    "90s",
    "15m",
    "2h",
    "3d",
    "1w",
    "s",
    "-1s",
    "1.5.5h",
    "1e9d",
    "999999999d",
    "99999999999999999999d",
    "٣s",
    ".s",
    "0s",
    "1D",
)
_TIMES = (
    *(
        "2026-11-11T00:00:00+08:00",
        "2026-11-11",
        "2026-11-11T00:00:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ),
    *(
        "9999-12-31",
        "now",
        "1790000000",
        "2026-13-01",
        "2026-11-11T24:00:00Z",
        "2026-11-11T00:00:00Z",
        "0001-01-01T00:00:00Z",
    ),
)
_IDS = (
    *(
        "01920000-0000-7000-8000-000000000000",
        "01920000000070008000000000000000",
        "0192",
        "{01920000-0000-7000-8000-000000000000}",
    ),
    *(
        "tmall:S-1",
        ":",
        "a:",
        ":b",
        "3-1045",
        "0-0",
        "-1-2",
        "3-",
        "999999999999-1",
        "SKU-1",
        "TEA",
        "11-11",
        "SKU-1=5",
        "TEA=1001",
    ),
    *("TEA=0", "TEA=-1", "=5", "TEA=", "TEA=٣", "TEA=1=2", "TEA=9999999999999999", "p1"),
)
_ADDRESSES = (
    *(
        "127.0.0.1:1",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "127.0.0.1:x",
        "127.0.0.1:-1",
        ":1",
        ":",
        ",",
    ),
    *(
        "127.0.0.1:1,",
        "127.0.0.1:1,127.0.0.1:2",
        "[::1]:1",
        "[::1",
        "::1",
        "[::1]",
        "[]:1",
        "[zz]:1",
        "a..b:1",
        "h" * 64 + ":1",
    ),
    *(
        "http://127.0.0.1:1",
        "127.0.0.1:1:2",
        "user@127.0.0.1:1",
        "127.0.0.1:1/x",
        "127.0.0.1 :1",
        "é.example:1",
        "\udcff:1",
    ),
    *(
        "redis://127.0.0.1:1/0",
        "redis://127.0.0.1:1/x",
        "redis://127.0.0.1:1/-1",
        "redis://[::1/0",
        "rediss://127.0.0.1:1/0",
    ),
    *(
        "redis://127.0.0.1:x/0",
        "redis://:secret-1@127.0.0.1:1/0",
        "redis://u:p%zz@127.0.0.1:1",
        "redis://127.0.0.1:1/0?db=x",
    ),
    *(
        "redis://127.0.0.1:1/0?foo=bar",
        "redis://127.0.0.1:1/0?retry_on_error=x",
        "redis://127.0.0.1:1/0?protocol=3",
        "unix://",
    ),
    *(
        "unix:///nothing/there",
        "rediss://127.0.0.1:1/0?ssl_ca_certs=/nothing",
        "rediss://127.0.0.1:1/0?ssl_cert_reqs=perhaps",
    ),
    *(
        "rediss://127.0.0.1:1?ssl_check_hostname=maybe",
        "rediss://127.0.0.1:1?ssl_ca_certs=/dev/null",
        "redis://127.0.0.1:1?db=99999999999",
    ),
    *(
        "postgresql://u@127.0.0.1:1/d",
        "postgres://u:secret-1@127.0.0.1:1/d",
        "postgresql://",
        "postgresql://u@127.0.0.1:x/d",
    ),
    *(
        "postgresql://u@[::1/d",
        "postgresql://u@127.0.0.1:1,127.0.0.1:2/d",
        "postgresql://u@127.0.0.1/d?sslmode=perhaps",
        "postgres:x",
    ),
    *(
        "postgresql://u@127.0.0.1/d?sslmode=verify-full&sslrootcert=/nothing",
        "postgresql://u@127.0.0.1/d?host=/nothing",
        "mysql://x/y",
    ),
    *("postgresql://u@127.0.0.1/d?target_session_attrs=any", "postgresql://u@127.0.0.1/d?target_session_attrs=never"),
    *(
        "postgresql://u@127.0.0.1/d?port=x",
        "postgresql://u@127.0.0.1:1/d?host=a&host=b",
        "postgresql://u@127.0.0.1/d?port=1,2",
    ),
    *(
        "postgresql://u@127.0.0.1/d?sslmode=require&sslrootcert=/dev/null",
        "postgresql://%2Fnothing/d",
        "postgresql://u@127.0.0.1/d?options=-x",
    ),
    *(
        "postgresql://u@127.0.0.1/d?sslmode=verify-ca",
        "postgresql://u@127.0.0.1/d?passfile=/dev/null",
        "postgresql://u@127.0.0.1/%zz",
    ),
    *(
        "postgresql://u@127.0.0.1/d?ssl_min_protocol_version=TLSv9",
        "postgresql://u@127.0.0.1/d?krbsrvname=\udcff",
        "postgresql://\udcff@127.0.0.1/d",
    ),
)
_CHOICES = (
    "DEBUG",
    "debug",
    "SSL",
    "ssl",
    "SASL_SSL",
    "SASL_PLAINTEXT",
    "PLAIN",
    "SCRAM-SHA-256",
    "intake",
    "tansu",
    "kafka",
)
POOLS = (_NUMBERS, _TEXTS, _DURATIONS, _TIMES, _IDS, _ADDRESSES, _CHOICES)


def word(choose: Random) -> str:
    """Any of them."""
    return choose.choice(choose.choice(POOLS))


def address(choose: Random) -> str:
    """One that is, or is nearly, the address of a server."""
    return bent(choose, choose.choice(_ADDRESSES)) if choose.random() < 0.3 else choose.choice(_ADDRESSES)


def number(choose: Random) -> str:
    """One that is, or is nearly, a number."""
    return choose.choice(_NUMBERS)


def bent(choose: Random, text: str) -> str:
    """A word with some characters exchanged, taken out, put in or doubled."""
    letters = list(text)
    for _ in range(choose.randint(1, 3)):
        at = choose.randrange(len(letters) + 1)
        match choose.randrange(4):
            case 0:
                del letters[at : at + choose.randint(1, 3)]
            case 1:
                letters[at:at] = choose.choice(("-", "=", ":", "/", "é", "\udcff", "0", "[", "%", ",", " ", "@", "\n"))
            case 2:
                letters[at:at] = letters[max(0, at - 3) : at]
            case _:
                letters[at : at + 1] = chr(choose.randrange(33, 127))
    return "".join(letters)
