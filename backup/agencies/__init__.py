"""An agency's own repositories: what keeps its files (``ports``), when, and which snapshots should be there."""
