"""Out of a repository again: listed, compared, brought back, mounted."""
