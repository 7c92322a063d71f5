"""Stage 8: which reset in which order, and whether a unit is clean."""
