"""What a process writes, noted; and what of it is left when the power is cut.

`shim` builds and loads the library that notes; `trace` reads its notes; `image` holds them as a disk.
"""
