"""Real servers of Debian's packages, started on loopback by the tests."""
