"""restic's repository format, version 2: what is written here, restic reads, checks and restores without us.

A library that needs no estate. ``ports`` is what it asks of a store, ``stores`` are those, ``location`` reads their
URLs and ``retaining`` is what some can do against their own account. ``format`` holds the format, one file for each of
its parts (restic's design document is the specification); ``repository`` holds it together, under ``locks``. ``save``
backs up, ``restore`` reads back, ``care`` is what a repository needs over the years: checks, repair, copies, retention,
prune. ``escrow`` seals its key for people.
"""
