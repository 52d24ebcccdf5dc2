"""Errors, clock, ids and durable databases: what everything else is written with."""
