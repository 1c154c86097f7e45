"""Rows of text to named readings: NDJSON and CSV.

NDJSON: one object a line, ``{"point": …, "observed": RFC 3339 or seconds, "value": …}`` with optional ``unit`` and
``quality``. CSV: the same names as a header line. One bad line never spoils the others.
"""

import contextlib
import csv
import io
import math
from collections.abc import Iterable
from typing import Any

import msgspec

from gridspine.kernel.errors import Invalid, TooLarge
from gridspine.kernel.quality import ALL_BITS
from gridspine.kernel.readings import ItemProblem, NamedReadings, named_readings
from gridspine.kernel.time import MAX_US, US, parse_rfc3339

Row = tuple[str, str, int, float, int]


class _Line(msgspec.Struct):
    point: str
    observed: str | float
    value: float
    unit: str = ""
    quality: int = 0


_decode_line = msgspec.json.Decoder(_Line).decode


def decode_ndjson(body: bytes, *, max_items: int) -> NamedReadings:
    """Read newline-delimited JSON objects."""
    lines = (line for line in body.splitlines() if line.strip())
    return _gather(lines, lambda line: _row(_decode_line(line)), max_items)


def decode_csv(body: bytes, *, max_items: int) -> NamedReadings:
    """Read CSV (RFC 4180) with a header line; raise `Invalid` when a needed column is not in it."""
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        columns = reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid(f"not CSV in UTF-8: {error}") from error
    missing = {"point", "observed", "value"} - set(columns)
    if missing:
        raise Invalid(f"CSV column {', '.join(sorted(missing))} is missing from the header line")
    return _gather(_csv_rows(reader), _csv_row, max_items)


def _csv_rows(reader: "csv.DictReader[str]") -> Iterable[dict[str, Any] | csv.Error]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # this line only: the reader goes on with the next
            yield error


def _csv_row(fields: dict[str, Any] | csv.Error) -> Row:
    if isinstance(fields, csv.Error):
        raise Invalid(f"not CSV: {fields}") from fields
    observed: str | float = fields["observed"] or ""
    with contextlib.suppress(ValueError):  # not seconds: an RFC 3339 time
        observed = float(observed)
    line = _Line(
        fields["point"] or "", observed, float(fields["value"] or "nothing"), fields.get("unit") or "",
        int(fields.get("quality") or 0),
    )  # fmt: skip
    return _row(line)


def _row(line: _Line) -> Row:
    if isinstance(line.observed, str):
        observed_us = parse_rfc3339(line.observed)
    elif math.isfinite(line.observed) and 0 <= line.observed <= MAX_US / US:
        observed_us = round(line.observed * US)
    else:
        raise Invalid("observed is not a time")
    if not 0 <= line.quality <= ALL_BITS:
        raise Invalid("quality is not 0…32767")
    return line.point, line.unit, observed_us, line.value, line.quality


def _gather(lines: Iterable[Any], read: Any, max_items: int) -> NamedReadings:
    rows: list[Row] = []
    places: list[int] = []
    problems: list[ItemProblem] = []
    for index, line in enumerate(lines):
        if index >= max_items:
            raise TooLarge(f"at most {max_items} readings at once")
        try:
            rows.append(read(line))
            places.append(index)
        except (Invalid, msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
            problems.append(ItemProblem(index, "malformed", str(error)))
    batch = named_readings(rows)
    batch.item[:] = places
    batch.problems.extend(problems)
    return batch
