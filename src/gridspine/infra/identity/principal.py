"""Organisations, principals, and the public keys principals prove themselves with."""

import re
from typing import Literal

import msgspec

from gridspine.kernel.errors import Invalid
from gridspine.kernel.ids import check_urn

Kind = Literal["user", "application", "device"]
ADMINISTRATOR = "administrator"
"""The one role name identity itself must know: the first principal gets it. All others are the policies' affair."""

MAX_ROLES = 16
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_ORGANISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,127}", re.ASCII)


class Organisation(msgspec.Struct, frozen=True):
    """A participant with a legal identity; ``kind`` is free text such as ``network`` or ``retailer``."""

    id: str
    name: str
    kind: str = ""


class Principal(msgspec.Struct, frozen=True):
    """A user, application or device of one organisation; ``id`` is a URN. An inactive one is nobody."""

    id: str
    organisation: str
    kind: Kind
    name: str
    roles: tuple[str, ...] = ()
    active: bool = True


class PublicKey(msgspec.Struct, frozen=True):
    """A public key of a principal; ``kid`` is its RFC 7638 thumbprint, ``jwk`` holds public members only.

    From ``retires_us`` [µs since 1970] on it proves nothing any more; None means it stays.
    """

    kid: str
    principal: str
    jwk: dict[str, str]
    created_us: int
    retires_us: int | None = None

    def valid_at(self, now_us: int) -> bool:
        """Whether the key still proves its principal at ``now_us`` [µs since 1970]."""
        return self.retires_us is None or now_us < self.retires_us


class TokenEpoch(msgspec.Struct, frozen=True):
    """How often everything issued to a principal was revoked at once; tokens carry the number they were issued at."""

    principal: str
    value: int


def check_organisation(organisation: Organisation) -> Organisation:
    """Return ``organisation``, or raise `Invalid`."""
    if not _ORGANISATION.fullmatch(organisation.id):
        raise Invalid(f"{organisation.id[:80]!r} is not an organisation id: letters, digits and : . _ - (128 at most)")
    _check_name(organisation.name)
    if organisation.kind:
        _check_name(organisation.kind)
    return organisation


def check_principal(principal: Principal) -> Principal:
    """Return ``principal``, or raise `Invalid`."""
    check_urn(principal.id)
    _check_name(principal.name)
    check_roles(principal.roles)
    return principal


def check_roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``roles``, or raise `Invalid`."""
    if len(roles) > MAX_ROLES or len(set(roles)) != len(roles):
        raise Invalid(f"a principal has at most {MAX_ROLES} roles, each once")
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise Invalid(f"{role[:40]!r} is not a role name: small letters, digits and - (32 at most)")
    return roles


def _check_name(name: str) -> None:
    if not 0 < len(name) <= 200 or not name.isprintable() or name != name.strip():
        raise Invalid("a name has 1 to 200 printable characters and no space at its ends")
