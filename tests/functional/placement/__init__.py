"""A real Placement from PyPI, which tests start on the loopback address."""
