"""Errors, clock and ids: what everything else is written with."""
