"""What a charge point answers a call with: its status, and the reason that OCPP 2.x lets it add.

Source: StatusInfoType (``reasonCode``, ``additionalInfo``) in the JSON schemas of OCPP 2.0.1 and 2.1; 1.6 has none.
"""

from collections.abc import Mapping
from typing import Any

MAX_WORDS = 200


def status_words(answer: Mapping[str, Any]) -> str:
    """Return the status of ``answer``, with the charge point's reason where it gives one: ``Rejected (NoFault: …)``."""
    info = answer.get("statusInfo", {})
    more = ": ".join(str(info[key]) for key in ("reasonCode", "additionalInfo") if info.get(key))
    shown = "".join(char if char.isprintable() else " " for char in more[:MAX_WORDS])
    return f"{answer['status']}" + (f" ({shown})" if shown else "")
