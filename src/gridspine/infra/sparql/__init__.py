"""SPARQL over triples that are held in a confined child process; this side imports no engine.

::

    Dataset ──► child: put, remove ──► triples in memory
       └─ ask ─► text: one SELECT, ASK, CONSTRUCT or DESCRIBE ─► answer, or why there is none
                 too long, too much memory ─► the child is ended; whoever asks next waits for a new one
"""
