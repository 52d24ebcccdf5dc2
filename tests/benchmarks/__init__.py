"""Benchmarks: each speed or memory bar is measured here, never asserted in a test."""
