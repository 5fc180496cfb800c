"""Mutated files of TOML: who is told of what, and the rules of the watch."""

from base64 import b64encode
from random import Random

import orjson

from loadtest.fuzz import mutations, words
from loadtest.fuzz.cli import FILES
from loadtest.fuzz.given import SECRET, Given, harmless

NOTIFY = b"""zone = "Asia/Shanghai"
[languages]
default = "zh"
[targets.shop]
kind = "webhook"
url = "https://shop.example.com:8443/hooks?a=b"
secret_env = ["HOOK"]
timeout = "5s"
give_up_after = "2h"
concurrency = 4
[targets.mail]
kind = "smtp"
host = "smtp.example.com"
port = 2525
security = "tls"
from = "orders@example.com"
to = ["{buyer_id}@example.com", "b@example.com"]
user = "u"
password_env = "MAIL"
[[route]]
events = ["order.*", "ticket.opened"]
channels = ["tmall", "j*"]
to = ["shop", "mail"]
overtaken = true
min_level = 2
"""
ENVIRON = {"HOOK": f"whsec_{b64encode(SECRET.encode() * 4).decode()}", "MAIL": SECRET}
ODD = ("true", "[]", "{}", "[{}]", "1979-05-27", "''", '["a", 1]', "{ default = 1 }", '"\\u0000"', '"5m"', '"$x $$ $"')


def written(choose: Random) -> Given:
    """A file, checked by its command: words, numbers and bytes of it gone wrong."""
    name, command = choose.choice((("notify.toml", ("notify", "check")), ("watch.toml", ("tickets", "rules"))))
    text = choose.choice((FILES[name], NOTIFY)) if name == "notify.toml" else FILES[name]
    lines = text.decode().splitlines()
    for _ in range(choose.choice((0, 1, 1, 2, 4))):
        _mutate(choose, lines)
    content = bytearray("\n".join(lines).encode("utf-8", "surrogateescape"))
    while content and choose.random() < 0.2:
        choose.choice(mutations.BYTES)(choose, content)
    environ = ENVIRON if choose.random() < 0.7 else {}
    return Given((*command, name), environ, {name: bytes(content)})


def _mutate(choose: Random, lines: list[str]) -> None:
    at = choose.randrange(len(lines))
    key, sign, _ = lines[at].partition(" = ")
    match choose.randrange(6):
        case 0:
            lines[at : at + choose.choice((1, 1, 5))] = [""]
        case 1:
            lines.insert(at, choose.choice(lines))
        case 2 if sign:
            lines[at] = f"{key} = {choose.choice((words.number(choose), *ODD))}"
        case 3 if sign:
            text = orjson.dumps(harmless(words.word(choose)).encode("utf-8", "replace").decode())
            lines[at] = f"{choose.choice((key, key, harmless(words.word(choose))))} = {text.decode()}"
        case _:
            lines[at] = words.bent(choose, lines[at])
