"""A SPARQL child: ``python -m gridspine.infra.sparql.child MEMORY_BYTES``. Holds triples and answers queries.

No network, no file, no process: the kernel refuses them before the first triple comes. Its memory is bounded; its time
is its parent's to bound, who ends it.
"""

import contextlib
import io
import os
import sys
from typing import Any

import msgspec
import pyoxigraph as ox

from gridspine.infra.runtime.confine import confine, shut
from gridspine.infra.runtime.frame import frame, read_frame
from gridspine.infra.sparql.wire import MAX_FRAME_BYTES, Answer, Ask, Put, Refused, Reply, Request, Taken

# The first of each is the default: W3C WoT Discovery, §7.3.2.3.3 (tdd-search-sparql-resp-…).
_SOLUTIONS = {
    "application/json": ox.QueryResultsFormat.JSON, "application/sparql-results+json": ox.QueryResultsFormat.JSON,
    "application/sparql-results+xml": ox.QueryResultsFormat.XML, "text/csv": ox.QueryResultsFormat.CSV,
    "text/tab-separated-values": ox.QueryResultsFormat.TSV,
}  # fmt: skip
_TRIPLES = {
    "application/ld+json": ox.RdfFormat.JSON_LD, "text/turtle": ox.RdfFormat.TURTLE,
    "application/n-triples": ox.RdfFormat.N_TRIPLES, "application/rdf+xml": ox.RdfFormat.RDF_XML,
}  # fmt: skip


class _Full(Exception):
    pass


class _Bounded(io.BytesIO):
    """A file that takes so many bytes and no more."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise _Full
        return super().write(data)


def put(store: Any, wanted: Put) -> Taken:
    """Replace what is said of subjects."""
    for subject in wanted.subjects:
        _remove(store, ox.NamedNode(subject), f"{subject}#/")
    try:
        store.load(wanted.triples, format=ox.RdfFormat.N_TRIPLES)
    except SyntaxError:  # what one Thing says of itself must not keep the others out
        for line in wanted.triples.splitlines():
            with contextlib.suppress(SyntaxError):
                store.load(line, format=ox.RdfFormat.N_TRIPLES)
    return Taken()


def _remove(store: Any, subject: Any, under: str) -> None:
    waiting = [subject]
    while waiting:
        for quad in list(store.quads_for_pattern(waiting.pop(), None, None)):
            store.remove(quad)
            if isinstance(quad.object, ox.NamedNode) and quad.object.value.startswith(under):
                waiting.append(quad.object)


def ask(store: Any, wanted: Ask) -> Reply:
    """Answer a query."""
    try:
        results = store.query(wanted.query, prefixes=wanted.prefixes)
        formats = _TRIPLES if isinstance(results, ox.QueryTriples) else _SOLUTIONS
        media = next((one for one in wanted.accept if one in formats or one == "*/*"), None)
        if media is None:
            return Refused("not-acceptable", f"this can be had as {', '.join(formats)}")
        media = next(iter(formats)) if media == "*/*" else media
        out = _Bounded(wanted.max_bytes)
        results.serialize(out, format=formats[media])
    except SyntaxError as error:
        return Refused("invalid", f"query: {str(error)[:300]}")
    except _Full:
        return Refused("too-large", f"the answer has more than {wanted.max_bytes} bytes: add LIMIT")
    except (ValueError, OSError, RuntimeError) as error:
        return Refused("unavailable", f"query: {str(error)[:300]}")
    return Answer(out.getvalue(), media)


def main() -> int:
    """Answer until the parent closes the pipe."""
    stdin, stdout = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warm = ox.Store()
    put(warm, Put(["urn:x:a"], b'<urn:x:a> <urn:x:b> "c" .\n'))
    for query in ("SELECT ?s (NOW() AS ?n) WHERE { ?s ?p ?o FILTER regex(?o, 'c') }", "CONSTRUCT WHERE { ?s ?p ?o }"):
        ask(warm, Ask(query, ["*/*"], {}, 1 << 20))
    confine(int(sys.argv[1]))
    shut(files=True)
    store, decoder = ox.Store(), msgspec.msgpack.Decoder(Request)
    while (body := read_frame(stdin, MAX_FRAME_BYTES)) is not None:
        request = decoder.decode(body)
        stdout.write(frame(put(store, request) if isinstance(request, Put) else ask(store, request)))
        stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
