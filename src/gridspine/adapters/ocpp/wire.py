"""OCPP-J frames: bytes ↔ frozen values, and what is wrong with a frame in the words of its version.

::

    [2, id, action, payload]              CALL              [5, id, code, description, details]   CALLRESULTERROR  2.1
    [3, id, payload]                      CALLRESULT        [6, id, action, payload]              SEND             2.1
    [4, id, code, description, details]   CALLERROR

Sources: OCPP-J 1.6 (§4, RPC framework) and OCPP 2.0.1 / 2.1 Part 4 (JSON over WebSockets). The clause numbers of Part 4
and the exact words of its table of error codes were not at hand; the names of the codes are those of the enumerations
in the PyPI package ``ocpp`` 2.1.0, its schemas those of the Open Charge Alliance.
"""

from enum import Enum, IntEnum
from typing import Any, Literal, get_args

import msgspec

Version = Literal["1.6", "2.0.1", "2.1"]
VERSIONS: tuple[Version, ...] = get_args(Version)
SUBPROTOCOLS: dict[str, Version] = {f"ocpp{version}": version for version in VERSIONS}
MAX_ID = 36
NO_ID = "-1"
"""The message id of an answer to what had none that can be read (2.0.1, 2.1)."""
_MAX_DESCRIPTION = 255


class Type(IntEnum):
    """Message type numbers."""

    CALL = 2
    RESULT = 3
    ERROR = 4
    RESULT_ERROR = 5
    SEND = 6


class Code(Enum):
    """What is wrong with a call. Two have another name in 1.6: see `spelled`."""

    NOT_IMPLEMENTED = "NotImplemented"
    NOT_SUPPORTED = "NotSupported"
    INTERNAL = "InternalError"
    PROTOCOL = "ProtocolError"
    SECURITY = "SecurityError"
    FORMAT = "FormatViolation"
    PROPERTY = "PropertyConstraintViolation"
    OCCURRENCE = "OccurrenceConstraintViolation"
    TYPE = "TypeConstraintViolation"
    GENERIC = "GenericError"
    MESSAGE_TYPE = "MessageTypeNotSupported"
    RPC_FRAMEWORK = "RpcFrameworkError"


_IN_16 = {
    Code.FORMAT: "FormationViolation",
    Code.OCCURRENCE: "OccurenceConstraintViolation",
    Code.MESSAGE_TYPE: "ProtocolError",
    Code.RPC_FRAMEWORK: "ProtocolError",
}


class Call(msgspec.Struct, frozen=True):
    """A request; ``send`` for one that is not answered (2.1)."""

    id: str
    action: str
    payload: dict[str, Any]
    send: bool = False


class Result(msgspec.Struct, frozen=True):
    """The answer to a call."""

    id: str
    payload: dict[str, Any]


class Refusal(msgspec.Struct, frozen=True):
    """A call, or (``of_result``) the answer to one, was refused."""

    id: str
    code: str
    description: str
    details: dict[str, Any]
    of_result: bool = False


Frame = Call | Result | Refusal


class Malformed(Exception):
    """A frame that cannot be taken; ``id`` is whose refusal is to be sent, "" where nothing is to be answered."""

    def __init__(self, code: Code, description: str, id: str = "") -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.id = id


def spelled(code: Code, version: Version) -> str:
    """Return the name of ``code`` in ``version``."""
    return _IN_16.get(code, code.value) if version == "1.6" else code.value


def encode_call(call: Call) -> bytes:
    """Return a CALL, or a SEND."""
    return msgspec.json.encode([Type.SEND if call.send else Type.CALL, call.id, call.action, call.payload])


def encode_result(result: Result) -> bytes:
    """Return a CALLRESULT."""
    return msgspec.json.encode([Type.RESULT, result.id, result.payload])


def encode_refusal(refusal: Refusal) -> bytes:
    """Return a CALLERROR or CALLRESULTERROR; a description too long is cut."""
    type_ = Type.RESULT_ERROR if refusal.of_result else Type.ERROR
    words = refusal.description[:_MAX_DESCRIPTION]
    return msgspec.json.encode([type_, refusal.id, refusal.code, words, refusal.details])


def decode(data: bytes, version: Version) -> Frame:
    """Return the frame in ``data``; raise `Malformed`.

    What has no message id is answered in 2.0.1 and 2.1 under the id ``-1``, and not at all in 1.6, which knows no such
    answer; a message type that 1.6 does not know is ignored there (OCPP-J 1.6 §4.1.3).
    """
    nobody = "" if version == "1.6" else NO_ID
    try:
        items = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(Code.RPC_FRAMEWORK, "the message is not JSON", nobody) from error
    if not isinstance(items, list) or len(items) < 3:
        raise Malformed(Code.RPC_FRAMEWORK, "the message is not an array of type, id and what follows", nobody)
    type_, id_ = items[0], items[1]
    if not isinstance(id_, str) or not 0 < len(id_) <= MAX_ID:
        raise Malformed(Code.RPC_FRAMEWORK, f"the message id is not a text of 1 to {MAX_ID} characters", nobody)
    if type(type_) is not int:
        raise Malformed(Code.RPC_FRAMEWORK, "the message type is not a number", "" if version == "1.6" else id_)
    if type_ == Type.CALL or (type_ == Type.SEND and version == "2.1"):
        return _call(items, id_, send=type_ == Type.SEND)
    if type_ == Type.RESULT:
        return _result(items, id_)
    if type_ == Type.ERROR or (type_ == Type.RESULT_ERROR and version == "2.1"):
        return _refusal(items, id_, of_result=type_ == Type.RESULT_ERROR)
    raise Malformed(Code.MESSAGE_TYPE, f"message type {type_} is not one of {version}", "" if version == "1.6" else id_)


def _call(items: list[Any], id_: str, *, send: bool) -> Call:
    to = "" if send else id_
    if len(items) != 4 or not isinstance(items[2], str):
        raise Malformed(Code.FORMAT, "a call is [2, id, action, payload]", to)
    if not isinstance(items[3], dict):
        raise Malformed(Code.FORMAT, "the payload of a call is an object", to)
    return Call(id_, items[2], items[3], send)


def _result(items: list[Any], id_: str) -> Result:
    if len(items) != 3 or not isinstance(items[2], dict):
        raise Malformed(Code.FORMAT, f"the answer to {id_} is not [3, id, payload]")
    return Result(id_, items[2])


def _refusal(items: list[Any], id_: str, *, of_result: bool) -> Refusal:
    # Sloppy peers leave out the description or the details: what counts is that the call is over.
    code, description, details = (*items[2:5], "", {}, {})[:3] if len(items) < 5 else items[2:5]
    if not isinstance(code, str):
        raise Malformed(Code.FORMAT, f"the refusal of {id_} names no code")
    words = description if isinstance(description, str) else ""
    return Refusal(id_, code[:64], words[:_MAX_DESCRIPTION], details if isinstance(details, dict) else {}, of_result)
