"""Commands and charging profiles, asked for and answered later at an address that the asker names.

Sources: OCPI 2.2.1-d2 and 2.3.0, chapters "Commands module" and "ChargingProfiles module".
"""

from typing import Annotated, Literal

from msgspec import Meta

from gridspine.adapters.ocpi.token import Token
from gridspine.adapters.ocpi.words import CiString36, DateTime, DisplayText, Natural, Object, Url

CommandType = Literal["CANCEL_RESERVATION", "RESERVE_NOW", "START_SESSION", "STOP_SESSION", "UNLOCK_CONNECTOR"]
ResponseType = Literal["NOT_SUPPORTED", "REJECTED", "ACCEPTED", "UNKNOWN_SESSION"]
ResultType = Literal[
    "ACCEPTED", "CANCELED_RESERVATION", "EVSE_OCCUPIED", "EVSE_INOPERATIVE", "FAILED", "NOT_SUPPORTED", "REJECTED",
    "TIMEOUT", "UNKNOWN_RESERVATION",
]  # fmt: skip
ProfileResponseType = Literal["ACCEPTED", "NOT_SUPPORTED", "REJECTED", "TOO_OFTEN", "UNKNOWN_SESSION"]
ProfileResultType = Literal["ACCEPTED", "REJECTED", "UNKNOWN"]


class CancelReservation(Object, frozen=True):
    """Give a reservation up."""

    response_url: Url
    reservation_id: CiString36


class ReserveNow(Object, frozen=True):
    """Keep an EVSE for a token."""

    response_url: Url
    token: Token
    expiry_date: DateTime
    reservation_id: CiString36
    location_id: CiString36
    evse_uid: CiString36 | None = None
    authorization_reference: CiString36 | None = None


class StartSession(Object, frozen=True):
    """Begin a session."""

    response_url: Url
    token: Token
    location_id: CiString36
    evse_uid: CiString36 | None = None
    connector_id: CiString36 | None = None
    authorization_reference: CiString36 | None = None


class StopSession(Object, frozen=True):
    """End a session."""

    response_url: Url
    session_id: CiString36


class UnlockConnector(Object, frozen=True):
    """Let a cable go."""

    response_url: Url
    location_id: CiString36
    evse_uid: CiString36
    connector_id: CiString36


class CommandResponse(Object, frozen=True):
    """Whether a command is tried; its result comes within ``timeout`` [s]."""

    result: ResponseType
    timeout: Natural
    message: tuple[DisplayText, ...] = ()


class CommandResult(Object, frozen=True):
    """What became of a command."""

    result: ResultType
    message: tuple[DisplayText, ...] = ()


class ChargingProfilePeriod(Object, frozen=True):
    """From ``start_period`` [s] on at most ``limit`` [A or W]."""

    start_period: Natural
    limit: float


class ChargingProfile(Object, frozen=True):
    """The most an EVSE may draw, for ``duration`` [s] from its start; without one, as long as the session."""

    charging_rate_unit: Literal["W", "A"]
    start_date_time: DateTime | None = None
    duration: Natural | None = None
    min_charging_rate: float | None = None
    charging_profile_period: Annotated[tuple[ChargingProfilePeriod, ...], Meta(max_length=1000)] = ()


class SetChargingProfile(Object, frozen=True):
    """A profile to be set."""

    charging_profile: ChargingProfile
    response_url: Url


class ActiveChargingProfile(Object, frozen=True):
    """What holds from ``start_date_time`` on."""

    start_date_time: DateTime
    charging_profile: ChargingProfile


class ProfileResponse(Object, frozen=True):
    """Whether a profile is tried; its result comes within ``timeout`` [s]."""

    result: ProfileResponseType
    timeout: Natural


class ProfileResult(Object, frozen=True):
    """What became of a profile; ``profile`` where it was asked for."""

    result: ProfileResultType
    profile: ActiveChargingProfile | None = None
