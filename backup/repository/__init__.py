"""restic's repository format, version 2: what is written here, restic reads, checks and restores without us.

A library that needs no estate. ``ports`` is what it asks of a store. ``seal``, ``keys``, ``settings``, ``packs``,
``index``, ``trees``, ``snapshots`` and ``locks`` are the format, one file each (restic's design document is the
specification); ``repository`` holds them together. ``saving`` backs paths up (``walk``, ``scan``, ``reading``,
``cutting``, ``pipeline``), ``restoring`` brings them back (``placing``), ``checking`` reads what is there.
``copying`` brings it to another place, ``repairing`` back to what it was.
"""
