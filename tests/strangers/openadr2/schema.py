"""Whether documents (a JSON list) pass the schema that openleadr brings; says the complaints as JSON."""

import json
import sys

from lxml import etree
from openleadr.messaging import XML_SCHEMA

complaints = []
for text in json.load(sys.stdin):
    if not XML_SCHEMA.validate(etree.fromstring(text.encode())):
        complaints.append(str(XML_SCHEMA.error_log)[:300] + text)
print(json.dumps(complaints))
