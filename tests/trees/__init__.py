"""Whole hosts from a few lines, in memory, as a recording or on disk."""
