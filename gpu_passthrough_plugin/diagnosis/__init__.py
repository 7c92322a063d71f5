"""Explain from a host's evidence why a function is not ready for a guest."""
