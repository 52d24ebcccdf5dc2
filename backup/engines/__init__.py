"""How each kind of dataset is read, and what keeps files in repositories (``own``, ``restic``): one engine a file."""
