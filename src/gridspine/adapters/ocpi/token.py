"""Tokens of drivers, and whether they may charge. Source: OCPI 2.2.1-d2 and 2.3.0, chapter "Tokens module"."""

from typing import Literal

from gridspine.adapters.ocpi.words import CiString2, CiString3, CiString36, DateTime, DisplayText, Object, Text, Word

Whitelist = Literal["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"]
Allowed = Literal["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"]


class EnergyContract(Object, frozen=True):
    """A driver's own energy contract."""

    supplier_name: Text
    contract_id: Text | None = None


class Token(Object, frozen=True):
    """A driver's token; ``type`` is RFID, APP_USER, AD_HOC_USER, OTHER, and EMAID in 2.3.0."""

    country_code: CiString2
    party_id: CiString3
    uid: CiString36
    type: Word
    contract_id: CiString36
    issuer: Text
    valid: bool
    whitelist: Whitelist
    last_updated: DateTime
    visual_number: Text | None = None
    group_id: CiString36 | None = None
    language: str | None = None
    default_profile_type: Word | None = None
    energy_contract: EnergyContract | None = None


class LocationReferences(Object, frozen=True):
    """Where a token is to be used."""

    location_id: CiString36
    evse_uids: tuple[CiString36, ...] = ()


class AuthorizationInfo(Object, frozen=True):
    """Whether a token may charge now, and by what it is referred to."""

    allowed: Allowed
    token: Token
    location: LocationReferences | None = None
    authorization_reference: CiString36 | None = None
    info: DisplayText | None = None
