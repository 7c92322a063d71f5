"""Nova's fixtures do not run below pytest; stestr runs these tests."""

from __future__ import annotations

collect_ignore_glob = ["test_*.py"]
