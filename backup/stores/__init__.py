"""Where copies are kept: one kind of store a file."""
