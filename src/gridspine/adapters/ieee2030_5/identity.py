"""Who a device is by its certificate: LFDI and SFDI; the PIN it is registered by; the id of its connection point.

Source: IEEE 2030.5-2018 6.3 (as its open implementations apply it; the clause itself was not read): the LFDI is the
first 20 bytes of the SHA-256 of the certificate in DER; the SFDI its first 36 bits, with a digit that makes the sum of
digits a multiple of ten. A PIN has five digits and their sum, modulo ten (its type ``PINType``). NMI: AEMO's National
Metering Identifier, whose checksum was checked against identifiers in the field; its procedure was not read.
"""

import re
from functools import lru_cache
from hashlib import sha256

from gridspine.kernel.errors import Invalid

_LFDI = re.compile(r"[0-9A-F]{40}", re.ASCII)
_NMI = re.compile(r"[A-HJ-NP-Z0-9]{10}[0-9]?", re.ASCII)


@lru_cache(maxsize=16_384)
def lfdi_of(certificate_der: bytes) -> str:
    """Return the LFDI of a certificate: 40 hexadecimal digits."""
    return sha256(certificate_der).hexdigest()[:40].upper()


def check_lfdi(lfdi: str) -> str:
    """Return an LFDI in capitals; raise `Invalid` for what is none."""
    if not _LFDI.fullmatch(lfdi.upper()):
        raise Invalid("lFDI: 40 hexadecimal digits are needed")
    return lfdi.upper()


def sfdi_of(lfdi: str) -> int:
    """Return the SFDI that belongs to an LFDI."""
    number = int(check_lfdi(lfdi)[:9], 16)
    return number * 10 + -_digits(number) % 10


def check_pin(pin: int) -> int:
    """Return a PIN; raise `Invalid` when its last digit is not the sum of the others, modulo ten."""
    if not 0 <= pin <= 999_999 or pin % 10 != _digits(pin // 10) % 10:
        raise Invalid("pin: five digits and their sum modulo ten are needed, such as 111115")
    return pin


def check_nmi(id: str) -> str:
    """Return a National Metering Identifier; raise `Invalid` for what is none, or has a wrong checksum."""
    if not _NMI.fullmatch(id):
        raise Invalid("connectionPointId: 10 characters of a NMI are needed, and its checksum if you like")
    if len(id) == 11 and int(id[10]) != nmi_checksum(id[:10]):
        raise Invalid("connectionPointId: the checksum of the NMI is wrong")
    return id


def nmi_checksum(id: str) -> int:
    """Return the checksum of the first ten characters of a NMI."""
    doubled = (ord(c) * 2 if at % 2 == 0 else ord(c) for at, c in enumerate(reversed(id)))
    return -sum(_digits(one) for one in doubled) % 10


def _digits(number: int) -> int:
    return sum(map(int, str(number)))
