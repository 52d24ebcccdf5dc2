"""How each kind of dataset is read: one engine a file."""
