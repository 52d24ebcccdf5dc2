"""What a repository needs over the years: checked, mended, copied to its twin, kept by age, pruned, retained."""
