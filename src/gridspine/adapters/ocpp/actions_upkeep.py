"""Actions of upkeep: reset, variables, local list, firmware, logs, a vendor's own messages.

What comes of a firmware update or an upload the charge point says in messages of its own: the last word of each kind is
kept, and ``firmwareState`` and ``logState`` are readings where the Thing has such points.

Passwords are written and never read: a value whose name says that it is one is answered as hidden.

Source: OCPP 1.6 §5 and its security whitepaper (edition 3); OCPP 2.0.1 and 2.1 Part 2, use cases B, D, L, N, P, as
their JSON schemas have the messages.
"""

import re
from typing import Any, Literal

from gridspine.adapters.ocpp.actions_charging import ActionInput, Kind
from gridspine.adapters.ocpp.asked import Action, Asked, Payload, Refused

MAX_NAMES = 50
MAX_LISTED = 2_000
_SECRET = re.compile(r"authorizationkey|passw|passphrase|secret|private|credential|\bpin\b", re.IGNORECASE)
_NAME = re.compile(
    r"(?P<component>[^.@\[\]]{1,50})(\[(?P<ci>[^\]]{1,50})\])?(@(?P<evse>\d{1,6}))?"
    r"\.(?P<variable>[^.@\[\]]{1,50})(\[(?P<vi>[^\]]{1,50})\])?"
)  # fmt: skip
_TRANSFER = re.compile(r"(https?|ftps?|sftp|ftpes)://", re.IGNORECASE)


class Reset(ActionInput, frozen=True):
    """``hard`` (2.x: at once) ends what runs; else when it may; ``only_evse`` (2.x): not the whole station."""

    hard: bool = False
    only_evse: bool = False


class Names(ActionInput, frozen=True):
    """Names of variables; none (1.6): all.

    In 2.x ``Component.Variable``, or ``Component[instance]@evse.Variable[instance]``.
    """

    names: tuple[str, ...] = ()


class Values(ActionInput, frozen=True):
    """New values by the variables' names."""

    values: dict[str, str]


class Listed(ActionInput, frozen=True):
    """A token in the local list; no ``status`` (in a differential list) takes it out."""

    id: str
    type: Kind = "ISO14443"
    status: Literal["Accepted", "Blocked", "Expired", "Invalid"] | None = "Accepted"
    expires: str = ""
    group: str = ""


class LocalList(ActionInput, frozen=True):
    """``tokens`` to send, ``full`` or as changes; none: the node's own list. ``version`` 0: the next."""

    tokens: list[Listed] | None = None
    full: bool = True
    version: int = 0


class Firmware(ActionInput, frozen=True):
    """Where from, from when (RFC 3339), to be installed when.

    ``signature`` and ``signing_certificate`` (PEM) go together.
    """

    url: str
    retrieve_at: str = ""
    install_at: str = ""
    retries: int | None = None
    signature: str = ""
    signing_certificate: str = ""


class Log(ActionInput, frozen=True):
    """Which log is to be sent where, from when until when (RFC 3339)."""

    url: str
    kind: Literal["diagnostics", "security"] = "diagnostics"
    since: str = ""
    until: str = ""
    retries: int | None = None


class Transfer(ActionInput, frozen=True):
    """A vendor's own message; ``data`` is text in 1.6."""

    vendor: str
    message: str = ""
    data: Any = None


async def reset(asked: Asked) -> Any:
    """Have the charge point start again."""
    given = asked.input(Reset)
    if asked.version == "1.6":
        if given.only_evse:
            raise asked.lacks("reset of one connector")
        answer = await asked.accepted("Reset", {"type": "Hard" if given.hard else "Soft"})
    else:
        kind, evse = "Immediate" if given.hard else "OnIdle", asked.evse if given.only_evse else None
        answer = await asked.accepted("Reset", {"type": kind, "evseId": evse}, {"Accepted", "Scheduled"})
    return {"status": answer["status"]}


async def get_variables(asked: Asked) -> Any:
    """Read variables (1.6: configuration keys)."""
    names = asked.input(Names).names
    if len(names) > MAX_NAMES:
        raise Refused(f"names: {MAX_NAMES} at once at most")
    if asked.version == "1.6":
        answer = await asked.call("GetConfiguration", {"key": names or None})
        found = {one["key"]: _shown(one["key"], one.get("value")) for one in answer.get("configurationKey", ())}
        read_only = [one["key"] for one in answer.get("configurationKey", ()) if one["readonly"]]
        return {"values": found, "readOnly": read_only, "unknown": answer.get("unknownKey", [])}
    if not names:
        raise Refused("names: OCPP 2.x reads variables by their names")
    answer = await asked.call("GetVariables", {"getVariableData": [_variable(name) for name in names]})
    values, unknown = {}, {}
    for name, one in zip(names, answer["getVariableResult"], strict=False):
        if one["attributeStatus"] == "Accepted":
            values[name] = _shown(name, one.get("attributeValue"))
        else:
            unknown[name] = one["attributeStatus"]
    return {"values": values, "refused": unknown}


async def set_variables(asked: Asked) -> Any:
    """Write variables (1.6: configuration keys, one after the other)."""
    values = asked.input(Values).values
    if not 0 < len(values) <= MAX_NAMES:
        raise Refused(f"values: 1 to {MAX_NAMES} at once")
    said: dict[str, str] = {}
    if asked.version == "1.6":
        for name, value in values.items():
            answer = await asked.call("ChangeConfiguration", {"key": name, "value": value})
            said[name] = answer["status"]
    else:
        data = [{**_variable(name), "attributeValue": value} for name, value in values.items()]
        answer = await asked.call("SetVariables", {"setVariableData": data})
        said = {name: one["attributeStatus"] for name, one in zip(values, answer["setVariableResult"], strict=False)}
    if not {"Accepted", "RebootRequired"}.intersection(said.values()):
        raise Refused("the charge point answers " + ", ".join(f"{name}: {word}" for name, word in said.items()))
    return {"status": said}


async def send_local_list(asked: Asked) -> Any:
    """Send the list of tokens that may charge while the node is not there to be asked."""
    given, now_us = asked.input(LocalList), asked.point.now_us
    listed = given.tokens
    if listed is None:
        known = asked.point.common.tokens.listed(asked.point.station.organisation, now_us)
        listed = [Listed(one.id, one.type or "ISO14443", one.status, one.expires, one.group) for one in known]  # type: ignore[arg-type]
    if len(listed) > MAX_LISTED:
        raise Refused(f"tokens: {MAX_LISTED} at most, these are {len(listed)}")
    if given.full and any(one.status is None for one in listed):
        raise Refused("tokens: in a full list each has a status")
    version = given.version or (await _list_version(asked)) + 1
    kind = "Full" if given.full else "Differential"
    if asked.version == "1.6":
        payload: Payload = {"listVersion": version, "localAuthorizationList": [_tag(one) for one in listed]}
    else:
        # An empty list is left out (2.x): full and without one, it is emptied.
        payload = {"versionNumber": version, "localAuthorizationList": [_token(one) for one in listed] or None}
    await asked.accepted("SendLocalList", {**payload, "updateType": kind})
    return {"version": version, "tokens": len(listed)}


async def get_local_list_version(asked: Asked) -> Any:
    """Read the version of the charge point's list; 0: it has none, -1 (1.6): it keeps none."""
    return {"version": await _list_version(asked)}


async def update_firmware(asked: Asked) -> Any:
    """Have the charge point fetch firmware and install it; signed firmware it checks itself."""
    given, number = asked.input(Firmware), asked.point.next_number()
    _check_url(given.url)
    if bool(given.signature) != bool(given.signing_certificate):
        raise Refused("signature and signingCertificate go together")
    at = given.retrieve_at or asked.point.now()
    if asked.version == "1.6" and not given.signature:
        if given.install_at:
            raise asked.lacks("time of installation for firmware that is not signed")
        await asked.call("UpdateFirmware", {"location": given.url, "retrieveDate": at, "retries": given.retries})
        return {"status": "Accepted"}
    firmware = {
        "location": given.url, "retrieveDateTime": at, "installDateTime": given.install_at,
        "signingCertificate": given.signing_certificate, "signature": given.signature,
    }  # fmt: skip
    payload = {
        "requestId": number, "retries": given.retries, "firmware": {key: one for key, one in firmware.items() if one}
    }  # fmt: skip
    name = "SignedUpdateFirmware" if asked.version == "1.6" else "UpdateFirmware"
    answer = await asked.accepted(name, payload, {"Accepted", "AcceptedCanceled"})
    return {"status": answer["status"], "request": number}


async def get_log(asked: Asked) -> Any:
    """Have the charge point upload a log; the name of the file, where it says one."""
    given, number = asked.input(Log), asked.point.next_number()
    _check_url(given.url)
    if asked.version == "1.6" and given.kind == "diagnostics":
        payload: Payload = {
            "location": given.url, "startTime": given.since or None, "stopTime": given.until or None,
            "retries": given.retries,
        }  # fmt: skip
        answer = await asked.call("GetDiagnostics", payload)
        if "fileName" not in answer:
            raise Refused("the charge point has no diagnostics to send")
        return {"status": "Accepted", "file": answer["fileName"]}
    log = {"remoteLocation": given.url, "oldestTimestamp": given.since, "latestTimestamp": given.until}
    kind = "DiagnosticsLog" if given.kind == "diagnostics" else "SecurityLog"
    payload = {
        "log": {key: one for key, one in log.items() if one}, "logType": kind, "requestId": number,
        "retries": given.retries,
    }  # fmt: skip
    answer = await asked.accepted("GetLog", payload, {"Accepted", "AcceptedCanceled"})
    return {"status": answer["status"], "file": answer.get("filename", ""), "request": number}


async def data_transfer(asked: Asked) -> Any:
    """Send a vendor's own message; what comes back is handed on as it is."""
    given = asked.input(Transfer)
    if asked.version == "1.6" and given.data is not None and not isinstance(given.data, str):
        raise Refused("data: a text in OCPP 1.6")
    payload = {"vendorId": given.vendor, "messageId": given.message or None, "data": given.data}
    answer = await asked.accepted("DataTransfer", payload)
    return {"status": answer["status"], "data": answer.get("data")}


# -- parts of messages ---------------------------------------------------------------------------------------------


async def _list_version(asked: Asked) -> int:
    answer = await asked.call("GetLocalListVersion", {})
    version: int = answer["listVersion" if asked.version == "1.6" else "versionNumber"]
    if version < 0:
        raise Refused("the charge point keeps no local list")
    return version


def _shown(name: str, value: str | None) -> str | None:
    return "(hidden)" if value and _SECRET.search(name) else value


def _variable(name: str) -> Payload:
    found = _NAME.fullmatch(name)
    if found is None:
        raise Refused(f"{name[:60]!r}: a variable is written Component.Variable, or Component[instance]@evse.Variable")
    component: Payload = {"name": found["component"]}
    if found["ci"]:
        component["instance"] = found["ci"]
    if found["evse"]:
        component["evse"] = {"id": int(found["evse"])}
    variable = {"name": found["variable"], **({"instance": found["vi"]} if found["vi"] else {})}
    return {"component": component, "variable": variable}


def _tag(one: Listed) -> Payload:
    if one.status is None:
        return {"idTag": one.id}
    info = {"status": one.status, "expiryDate": one.expires, "parentIdTag": one.group}
    return {"idTag": one.id, "idTagInfo": {key: value for key, value in info.items() if value}}


def _token(one: Listed) -> Payload:
    token: Payload = {"idToken": {"idToken": one.id, "type": one.type}}
    if one.status is not None:
        token["idTokenInfo"] = {"status": one.status}
        if one.expires:
            token["idTokenInfo"]["cacheExpiryDateTime"] = one.expires
        if one.group:
            token["idTokenInfo"]["groupIdToken"] = {"idToken": one.group, "type": "Central"}
    return token


def _check_url(url: str) -> None:
    if not _TRANSFER.match(url):
        raise Refused("url: begins with https, http, ftp, ftps or sftp")


ACTIONS: dict[str, Action] = {
    "reset": reset,
    "getVariables": get_variables,
    "setVariables": set_variables,
    "sendLocalList": send_local_list,
    "getLocalListVersion": get_local_list_version,
    "updateFirmware": update_firmware,
    "getLog": get_log,
    "dataTransfer": data_transfer,
}
