"""``gridspine doctor``: looks at a node's data, settings and machine, running or stopped, and changes nothing.

::

    directory   who may look in, format, lock, room          storage   log, registry, ledger, snapshot
    machine     clock, Python, libraries, file system        reach     ports, adapters, broker, certificates
"""
