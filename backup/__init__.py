"""Protecting: recovery points in the other site's store, each restored and compared before it counts.

``plan`` decides, ``perform`` acts and journals, ``prove`` compares, ``task`` is what calendar and people call;
``engines`` read the source, ``stores`` keep the copies.
"""
