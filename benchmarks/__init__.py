"""Comparisons with other ways to the same answer, as ratios."""
