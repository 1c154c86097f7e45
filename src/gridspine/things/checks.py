"""The checks of commissioning, by name and in their order."""

from gridspine.things.commissioning import Check, answers, clock
from gridspine.things.scale_check import apparent, nameplate, nominal, reference, registers
from gridspine.things.sign_check import phases, sign

CHECKS: dict[str, Check] = {
    "answers": answers,
    "clock": clock,
    "nominal": nominal,
    "nameplate": nameplate,
    "apparent": apparent,
    "registers": registers,
    "reference": reference,
    "sign": sign,
    "phases": phases,
}
