"""restic's format itself: what each file of a repository holds, byte for byte."""
