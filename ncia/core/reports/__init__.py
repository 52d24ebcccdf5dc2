"""What was promised beside what was measured, and how it is spelled."""
