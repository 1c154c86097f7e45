"""Thing Descriptions and Thing Models of strangers: read, validated, filled in, and made into points.

::

    bytes ─► document ─► schema ─► rules ─► secrets? ─► points · bindings      what is wrong: field and description
                Thing Model ─► extends, tm:ref, placeholders, optional ─► Thing Description

No context and no reference is ever fetched. What a document says beyond the terms known here is kept.

Source: W3C Web of Things (WoT) Thing Description 1.1 (Recommendation of 5 December 2023); 1.0 is taken as well.
"""

from gridspine.things.td.check import check_description, check_model
from gridspine.things.td.document import MAX_TD_BYTES, Finding, read_document, refuse

__all__ = ["MAX_TD_BYTES", "Finding", "check_description", "check_model", "read_document", "refuse"]
