"""ANSI X12 interchanges, as flat as a mapping needs them: the first value of each element, by its reference. Pure."""

ISA_LENGTH = 106
"""The header has a fixed length; it tells which characters part elements and segments."""


def flat(text: str) -> dict[str, str]:
    """Elements by reference designator, as in `{"ST01": "856", "BSN02": "SH-1"}`. Raises `ValueError`.

    Of a segment that comes several times the first counts; a REF is found by its qualifier too, as `REF:CN`. One
    interchange carries one transaction set; several in one message would be several reports, and are refused.
    """
    if not text.startswith("ISA") or len(text) < ISA_LENGTH:
        raise ValueError("an X12 interchange begins with an ISA segment of 106 characters")
    element, segment = text[3], text[ISA_LENGTH - 1]
    found: dict[str, str] = {}
    sets = 0
    for line in text.split(segment):
        name, *values = line.strip("\r\n").split(element)
        sets += name == "ST"
        if name == "REF" and len(values) > 1:
            found.setdefault(f"REF:{values[0]}", values[1])
        for number, value in enumerate(values, 1):
            found.setdefault(f"{name}{number:02d}", value)
    if sets != 1:
        raise ValueError(f"{sets} transaction sets in one message; send each in a message of its own")
    return found
