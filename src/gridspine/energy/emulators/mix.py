"""Which kinds there are, and how many of each a fleet has."""

from dataclasses import dataclass

from gridspine.energy.emulators import battery, chp, ev_charger, heat_pump, meter, pv, weather_station, wind_turbine
from gridspine.kernel.errors import Invalid

KINDS = {
    "meter": meter,
    "pv": pv,
    "battery": battery,
    "ev_charger": ev_charger,
    "heat_pump": heat_pump,
    "wind_turbine": wind_turbine,
    "chp": chp,
    "weather_station": weather_station,
}
"""Kind → its module, with ``MODEL``, ``POINTS`` and ``SETTINGS``."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How many devices of each kind."""

    meter: int = 0
    pv: int = 0
    battery: int = 0
    ev_charger: int = 0
    heat_pump: int = 0
    wind_turbine: int = 0
    chp: int = 0
    weather_station: int = 0

    @classmethod
    def of(cls, devices: int) -> "Mix":
        """Return a neighbourhood of ``devices`` in all: of 100 homes 45 have a plant, 25 a battery, 30 a charger,
        30 a heat pump; a CHP plant for 200 homes, a wind turbine for 4,000; a weather station for 1,000.
        """
        homes = devices / (1.0 + 0.45 + 0.25 + 0.30 + 0.30 + 1 / 200 + 1 / 4000)
        shares = {"pv": 0.45, "battery": 0.25, "ev_charger": 0.30, "heat_pump": 0.30, "chp": 1 / 200}
        counts = {kind: int(share * homes) for kind, share in shares.items()} | {"wind_turbine": int(homes / 4000)}
        counts["weather_station"] = 1 + int(homes / 1000) if devices > 1 else 0
        return cls(meter=devices - sum(counts.values()), **counts)

    @classmethod
    def of_model(cls, model: str, count: int) -> "Mix":
        """Return ``count`` devices of one Thing Model by its id; raise `Invalid` where no kind emulates it."""
        for kind, module in KINDS.items():
            if model == module.MODEL:
                return cls(**{kind: count})
        raise Invalid(f"{model[:200]} has no emulator; there are: {', '.join(m.MODEL for m in KINDS.values())}")

    @property
    def homes(self) -> int:
        """How many homes it takes."""
        return max(self.meter, self.pv, self.battery, self.ev_charger, self.heat_pump)
