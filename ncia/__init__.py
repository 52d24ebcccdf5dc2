"""ncia: keeps the information systems of a government running across two data centres."""

__version__ = "0.1.0"
