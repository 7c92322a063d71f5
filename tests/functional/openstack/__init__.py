"""A real OpenStack's control plane, started on loopback by the tests."""
