"""The ways of looking, one file each; ``wire`` is the HTTP exchange that several of them use."""
