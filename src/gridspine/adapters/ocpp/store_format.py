"""The format of the adapter's private store: its number, and what is done with a store of another.

::

    1   station/{name}                 transaction/{name}/{slot}                 signed/{name}/{slot}
    2   station/{organisation}/{name}  transaction/{organisation}/{name}/{slot}  signed/{organisation}/{name}/{slot}

A store without a number is of 1, of 2, or empty. What is of 1 is moved to the organisation whose charge point has that
name; where none has, or several, it stays as it is and is told, and nothing is lost. A store of a later format is not
touched: who went back to an older version is told to go on again.
"""

import logging

from gridspine.adapters.ocpp.station import Stations
from gridspine.kernel.errors import Invalid
from gridspine.things.adapter import PrivateStore

log = logging.getLogger(__name__)

FORMAT = 2
_KEY = "format"
_PARTS_OF_1 = {"station": 2, "transaction": 3, "signed": 3}
"""How many parts a key of format 1 has; one of format 2 has one more. No name has a slash in it."""


async def bring_up_to_date(store: PrivateStore, stations: Stations) -> int:
    """Bring the store to `FORMAT` and return how many entries were moved; raise `Invalid` for one of a later format."""
    said = await store.get(_KEY)
    if said is not None:
        number = int(said) if said.isdigit() else 0
        if number != FORMAT:
            raise Invalid(
                f"the store of the adapter ocpp is of format {said.decode(errors='replace')[:20]}, and this version "
                f"knows {FORMAT}: start the version that wrote it, or the one after it; nothing was changed"
            )
        return 0
    moved, left = 0, set()
    for key, value in (await store.items()).items():
        kind, _, rest = key.partition("/")
        if key.count("/") + 1 != _PARTS_OF_1.get(kind, 0):
            continue
        name, _, slot = rest.partition("/")
        owners = stations.named(name)
        if len(owners) != 1:
            left.add(name)
            continue
        new = "/".join(part for part in (kind, owners[0].key, slot) if part)
        if await store.get(new) is None:  # what was written since is newer
            await store.put(new, value)
        await store.put(key, None)
        moved += 1
    if left:
        log.error(
            "the store has entries of an older version that name no organisation: stations=%s; they stay until one "
            "organisation alone has a charge point of that name", ", ".join(sorted(left))[:500],
        )  # fmt: skip
    else:
        await store.put(_KEY, str(FORMAT).encode())
    if moved:
        log.info("store brought to format %d: entries=%d", FORMAT, moved)
    return moved
