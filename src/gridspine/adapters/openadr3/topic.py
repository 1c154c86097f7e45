"""The MQTT notifier as clients find it: where its broker is, and by what names they may read there.

::

    GET /notifiers                                 the broker, and how to prove oneself to it
    GET /notifiers/mqtt/topics/programs/P/events   openadr3/{client}/programs/P/events/create, …/update, …/delete, …/+

Each topic is the asker's own, so one name never shows two clients the same. Who runs programmes may read all subjects
of its organisation; a VEN programs, the events of one, and what concerns VENs of its own. Source: OpenADR 3.1.0, its
OpenAPI document (``/notifiers``, ``notifierOperationsTopics``, ``mqttNotifierBindingObject``), and of 3.1.1
Definition.md ("Notifications via Additional Protocols").
"""

from gridspine.adapters.openadr3 import program, ven
from gridspine.adapters.openadr3.call import Answer, Call, said
from gridspine.adapters.openadr3.vtn import Vtn
from gridspine.adapters.openadr3.wire import Operation
from gridspine.kernel.errors import NotFound
from gridspine.things.adapter_notices import ANY_VERB, NoticeTopic

DESK = "openadr3"
VERBS: dict[Operation, str] = {"CREATE": "create", "UPDATE": "update", "DELETE": "delete"}
_BL_ONLY = frozenset({"events", "reports", "subscriptions", "vens", "resources"})
_OF_A_VEN = frozenset({"events", "programs", "resources"})


async def notifiers(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /notifiers``."""
    call.port.check("programme.read")
    found: dict[str, object] = {"WEBHOOK": True}
    if uris := vtn.brokers(call.host):
        authentication = {"method": "OAUTH2_BEARER_TOKEN", "username": "{clientID}"}
        found["MQTT"] = {"URIS": uris, "serialization": "JSON", "authentication": authentication}
    return said(found)


async def topics(vtn: Vtn, call: Call) -> Answer:
    """Answer ``GET /notifiers/mqtt/topics/…``."""
    call.port.check("programme.read")
    if not vtn.brokers(call.host):
        raise NotFound("this VTN notifies by webhook only: see /notifiers")
    parts = call.path[3:]
    check_subject(vtn, call, parts)
    names: dict[str, str] = {"ALL": ANY_VERB}
    names.update((name, verb) for name, verb in VERBS.items() if name != "CREATE" or not _is_one(parts))
    subject = "/".join(parts)
    told = {name: str(NoticeTopic(DESK, call.client, subject, verb)) for name, verb in names.items()}
    return said({"topics": told})


def check_subject(vtn: Vtn, call: Call, parts: tuple[str, ...]) -> None:
    """Raise `Forbidden`, or `NotFound`, unless the asker may read what becomes of a subject."""
    match parts:
        case ("programs",):
            return
        case ("programs", id_) | ("programs", id_, "events"):
            program.find(vtn, call, id_)
        case ("vens", id_):
            ven.find(vtn, call, id_)
        case ("vens", id_, of) if of in _OF_A_VEN:
            ven.find(vtn, call, id_)
        case (of,) if of in _BL_ONLY:
            call.check_bl()
        case _:
            raise NotFound("there are no such topics")


def _is_one(parts: tuple[str, ...]) -> bool:
    """Whether a subject is one object, which nobody hears being created."""
    return len(parts) == 2
