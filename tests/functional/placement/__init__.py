"""A real Placement from PyPI, started on loopback by the tests."""
