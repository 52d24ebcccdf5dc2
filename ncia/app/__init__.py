"""The composition root: the only package that names concrete adapters, one module per process.

Imports are local to the composing functions, so that a small process (the warden) loads only what it needs.
"""
