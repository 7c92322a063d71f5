"""What a module imports, in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys


def imported_with(*modules: str) -> frozenset[str]:
    """Return the modules that are loaded once these are imported."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        (sys.executable, "-P", "-c", code),
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(done.stdout.split())
