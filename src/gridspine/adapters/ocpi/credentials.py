"""Versions, endpoints and credentials. Sources: OCPI 2.2.1-d2 and 2.3.0, chapters "Versions" and "Credentials"."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gridspine.adapters.ocpi.wire import Party
from gridspine.adapters.ocpi.words import BusinessDetails, CiString2, CiString3, Object, Url, Word

Token = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")]


class VersionEntry(Object, frozen=True):
    """A version, and where its details are."""

    version: Annotated[str, Meta(min_length=1, max_length=16)]
    url: Url


class Endpoint(Object, frozen=True):
    """Where a module's interface is; ``role`` is SENDER or RECEIVER, without meaning for *credentials*."""

    identifier: Annotated[str, Meta(min_length=1, max_length=64)]
    role: Word
    url: Url


class VersionDetails(Object, frozen=True):
    """The endpoints of a version."""

    version: Annotated[str, Meta(max_length=16)]
    endpoints: tuple[Endpoint, ...]


class CredentialsRole(Object, frozen=True):
    """A role of a platform: CPO, EMSP … of one party."""

    role: Word
    business_details: BusinessDetails
    party_id: CiString3
    country_code: CiString2

    @property
    def party(self) -> Party:
        """The party."""
        return Party(self.country_code, self.party_id)


class Credentials(Object, frozen=True):
    """What a platform gives another to reach it. ``hub_party_id`` is of 2.3.0."""

    token: Token
    url: Url
    roles: Annotated[tuple[CredentialsRole, ...], Meta(min_length=1, max_length=2000)]
    hub_party_id: str | msgspec.UnsetType = msgspec.UNSET
