"""Repositories in restic's format: what we write, restic reads, checks and restores without us."""
