"""Logs as a source: ``tail`` follows a file, ``sshd`` and ``nginx`` parse its lines into events in ECS fields."""
