"""Data products, grants that visibly end, and delivery. Knows no Things: a product is a set of points."""
