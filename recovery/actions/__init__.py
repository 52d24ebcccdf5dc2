"""Adapters of :mod:`recovery.ports`, one thing each: databases, applications, the front door."""
