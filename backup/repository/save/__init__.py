"""Files into a repository: looked at, cut into chunks, sealed, packed, and a snapshot last."""
