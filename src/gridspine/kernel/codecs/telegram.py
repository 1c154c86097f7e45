"""A meter's telegram in the text form of IEC 62056-21 data blocks, as Dutch meters send it at their P1 port.

::

    /ISK5\\2M550T-1011                identification
    1-0:1.8.1(010830.511*kWh)         OBIS code, value, unit
    0-1:24.2.1(210606140010W)(02569.646*m3)      of several values the last is the object's
    !1F28                             CRC-16 of all from / to !, where the meter sends one

Source: Netbeheer Nederland, "P1 Companion Standard", Dutch Smart Meter Requirements 5.0.2, §6.2 (CRC-16, polynomial
x16+x15+x2+1, least significant bit first) and §6.12 (objects), as known in the field; the text was not read again.
"""

import re

from gridspine.kernel.errors import Invalid

MAX_OBJECTS = 1_000
_OBJECT = re.compile(r"^(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3})((?:\([^()\r\n]{0,1024}\))+)\s*$", re.MULTILINE)
_VALUE = re.compile(r"\(([^()]*)\)$")
_END = re.compile(r"^!([0-9A-Fa-f]{4})?\s*$", re.MULTILINE)


def read_telegram(text: str) -> dict[str, float | str]:
    """Return the objects of a telegram by OBIS code: a number where there is one, else the text.

    Units stay with who knows the code. Raises `Invalid` for what is no telegram, or has a wrong checksum.
    """
    end = _END.search(text)
    if not text.lstrip().startswith("/") or end is None:
        raise Invalid("the answer is no telegram: it begins with / and ends with !")
    start = text.index("/")
    if end[1] and int(end[1], 16) != crc16(text[start : end.start() + 1].encode("ascii", "replace")):
        raise Invalid("the telegram's checksum is wrong")
    objects: dict[str, float | str] = {}
    for code, values in _OBJECT.findall(text[start : end.start()]):
        if len(objects) >= MAX_OBJECTS:
            raise Invalid(f"a telegram has at most {MAX_OBJECTS} objects")
        last = _VALUE.search(values)
        number = last[1].partition("*")[0] if last else ""
        objects[code] = float(number) if _is_number(number) else number
    return objects


def crc16(data: bytes) -> int:
    """Return the checksum of a telegram: CRC-16 with polynomial 0xA001 (reflected), beginning at 0."""
    value = 0
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value


def _of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


_TABLE = tuple(map(_of_byte, range(256)))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", text, re.ASCII) is not None
