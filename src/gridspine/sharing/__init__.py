"""Data products, grants that visibly end, and delivery. Knows no Things: a product is a set of named points.

::

    product ── access request ── grant [from, until) ── delivery ─► subscribers
                                   │ revoked · expired · suspended
                                   └──► the running stream is cut

Masks belong to products and each batch is encoded once a format; a grant only gates.
"""
