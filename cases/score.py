"""Writes how well the emulators and the screen do into docs/data/emulators.json and the tables of docs/emulators.md.

``uv run python cases/score.py`` (half a minute). Without the recorded homes beside the repository only the cases are
scored anew, and what was scored on homes stays as it was.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cases import homes, screens  # noqa: E402
from cases.compare import cases, errors  # noqa: E402

DATA = ROOT / "docs" / "data" / "emulators.json"
PAGE = ROOT / "docs" / "emulators.md"
_SHOWN = {
    "pv/pvlib_chain": ("normalised_mean_absolute", "normalised_mean"),
    "pv/sam_pvwatts": ("normalised_mean_absolute", "normalised_mean"),
    "wind_turbine/sam_windpower": ("normalised_mean_absolute", "logistic_normalised_mean_absolute"),
    "battery/sam_stateful": ("mean_absolute_state_of_charge", "normalised_mean_absolute_power"),
    "heat_pump/hplib_generic": ("mean_relative_of_the_formula", "mean_relative_after_one_factor"),
    "ev_charger/acn_sim": ("normalised_mean_absolute",),
}


def scored_cases() -> dict[str, dict[str, float]]:
    """Return the errors of every case."""
    return {
        name: {key: round(value, 5) + 0.0 for key, value in errors(name, case).items()}
        for name, case in cases().items()
    }


def scored_homes() -> dict[str, Any]:
    """Return what was scored on the recorded homes."""
    numbers = (*homes.FITTED, homes.HELD_OUT)
    return {
        "pv": {str(number): _rounded(homes.pv_on_clear_days(number)) for number in numbers},
        "weather_correlation": {str(number): round(homes.weather_correlation(number), 3) for number in numbers},
        "load": {str(number): _rounded(homes.load_of(number)) for number in numbers},
        "screen": [_rounded(row) for row in screens.report()],
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) + 0.0 if isinstance(value, float) else value for key, value in row.items()}


def tables(data: dict[str, Any]) -> dict[str, str]:
    """Return the tables of the page by the names of their places."""
    references = {name: case["provenance"]["program"] for name, case in cases().items()}
    lines = ["| case | reference | error | |", "|---|---|---|---|"]
    for name, shown in _SHOWN.items():
        for key in shown:
            words = key.replace("_", " ")
            lines.append(f"| {name} | {references[name]} | **{100 * data['cases'][name][key]:.2f} %** | {words} |")
    found = {"cases": "\n".join(lines)}
    lines = ["| home | clear days fitted, scored | mean absolute | root mean square | mean | tilt, azimuth found |"]
    lines += ["|---|---|---|---|---|---|"]
    for number, row in data["pv"].items():
        share = [f"{100 * row[f'normalised_{key}']:.1f} %" for key in ("mean_absolute", "root_mean_square", "mean")]
        days = f"{row['days_fitted']:.0f}, {row['days_scored']:.0f}"
        lines.append(
            f"| {number} | {days} | **{share[0]}** | {share[1]} | {share[2]} | {row['tilt']}°, {row['azimuth']}° |"
        )
    found["pv"] = "\n".join(lines)
    lines = [
        "| home | | shape of the day | quantiles | memory of an hour: emulated, recorded |",
        "|---|---|---|---|---|",
    ]
    for number, row in data["load"].items():
        role = "**held out**" if number == str(homes.HELD_OUT) else "fitted"
        shape, spread = (100 * row[f"{key}_normalised_mean_absolute"] for key in ("shape", "quantiles"))
        memory = f"{row['memory_of_an_hour_emulated']:.2f}, {row['memory_of_an_hour_recorded']:.2f}"
        lines.append(f"| {number} | {role} | {shape:.1f} % | {spread:.1f} % | {memory} |")
    found["load"] = "\n".join(lines)
    found["screen"] = "\n".join(_screen_lines(data["screen"]))
    return found


def _screen_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| points | failure | failures | recall | precision | false alarms a point and year |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "point_years" in row:
            alarms = f"{row['false_alarms_per_point_year']:.1f} ({row['point_years']:.3g} point-years)"
            lines.append(f"| {row['points']} | none | | | | **{alarms}** |")
            continue
        recall, precision = ("–" if row[key] is None else f"{100 * row[key]:.0f} %" for key in ("recall", "precision"))
        lines.append(f"| {row['points']} | {row['failure']} | {row['failures']} | **{recall}** | {precision} | |")
    return lines


def written(page: str, data: dict[str, Any]) -> str:
    """Return the page with its tables as ``data`` has them."""
    for name, text in tables(data).items():
        begin, end = f"<!-- {name}: written by cases/score.py -->", f"<!-- {name}: end -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE} has no place for {name}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def main() -> None:
    """Score, and write."""
    data = json.loads(DATA.read_text()) if DATA.exists() else {}
    data["cases"] = scored_cases()
    if homes.HOMES.is_dir():
        data |= scored_homes()
    DATA.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(written(PAGE.read_text(), data))


if __name__ == "__main__":
    main()
