"""What an agent is called with: what its twin knows of the points it listens to, its state, and what happened."""

from dataclasses import dataclass
from typing import Any

from gridspine.apps.node.behaviours import Behaviours
from gridspine.kernel.quality import describe
from gridspine.kernel.readings import Channel
from gridspine.kernel.time import US
from gridspine.things.adapter import Order
from gridspine.things.agent import READING, TIMER, States
from gridspine.things.behaviour import Behaviour, defined
from gridspine.things.form import Forms
from gridspine.things.point import PointTable
from gridspine.things.rollout import Deployment
from gridspine.things.twin import NEVER_US, TwinState

_CALLED = ((READING, "on_reading"), (TIMER, "on_timer"))
"""What is called why: what happened before what time brings."""


@dataclass(frozen=True, slots=True)
class Call:
    """One agent about to be run: its Thing by number and id, its deployment and version, and what it is given."""

    thing: int
    urn: str
    deployment: Deployment
    behaviour: Behaviour
    function: str
    channel: Channel
    points: dict[str, Any]
    arguments: list[Any]


class CallMaker:
    """Makes calls: one a wake, what happened before what time brings."""

    def __init__(self, behaviours: Behaviours, points: PointTable, twins: TwinState, forms: Forms) -> None:
        self._behaviours, self._points, self._twins, self._forms = behaviours, points, twins, forms

    def make(
        self, thing: int, deployment: Deployment, states: States, why: int, order: Order | None, now_us: int
    ) -> Call | None:
        """Return the call that ``why`` asks for; None where the Thing has no version, or that version wants none."""
        urn = self._points.things()[thing]
        version = deployment.of(urn)
        if not version:
            return None
        behaviour = self._behaviours.behaviour(deployment.organisation, deployment.name, version)
        told = order if behaviour.commands else None
        function = _function(behaviour, why, told)
        if not function:
            return None
        channel = Channel.EMULATED if self._forms.of(urn) == "emulator" else Channel.REPORTED
        points = self._values(thing, behaviour, channel, now_us)
        twin = {
            "thing": urn, "now_s": now_us / US, "channel": channel.name.lower(), "data": behaviour.data,
            "points": points,
        }  # fmt: skip
        arguments = [twin, states.get(thing)]
        if function == "on_command" and told is not None:
            arguments.append({"point": told.point, "value": told.value, "until_s": told.until_us / US})
        return Call(thing, urn, deployment, behaviour, function, channel, points, arguments)

    def _values(self, thing: int, behaviour: Behaviour, channel: Channel, now_us: int) -> dict[str, Any]:
        """Return what the twin knows of the points a behaviour listens to, on the channel of its form."""
        first, model = self._points.points_of(thing)
        offsets = {point.name: at for at, point in enumerate(model.points)}
        return {name: self._value(first + offsets[name], channel, now_us) for name in behaviour.listens}

    def _value(self, number: int, channel: Channel, now_us: int) -> dict[str, Any] | None:
        if channel is Channel.EMULATED:
            emulated = self._twins.channels.emulated(number)
            if emulated is None:
                return None
            value, observed_us, quality = emulated.value, emulated.observed_us, emulated.quality
        else:
            twin = self._twins.get(number)
            if twin.observed_us == NEVER_US:
                return None
            value, observed_us, quality = twin.value, twin.observed_us, twin.quality
        return {"value": value, "quality": describe(quality), "age_s": (now_us - observed_us) / US}


def _function(behaviour: Behaviour, why: int, order: Order | None) -> str:
    """Return the function that is called; "" where the behaviour has none for it."""
    if order is not None:
        return "on_command"
    functions = defined(behaviour.text)
    return next((function for reason, function in _CALLED if why & reason and function in functions), "")
