"""The project's requirements as wheels, for a machine without a network."""

import subprocess
import sys
from pathlib import Path

PYTHON = (3, 11)
"""The Python of the lab's image, which is Debian 12's."""

_FROM_DEBIAN = "libvirt-python"


def for_image(requirements: str) -> str:
    """Return ``requirements`` without what Debian's packages provide.

    Comments go as well, so that a reworded one builds no new image.

    >>> for_image("# what we run on\\npbr>=6\\nlibvirt-python>=9 # LGPL\\n")
    'pbr>=6\\n'
    """
    stated = (
        line.partition("#")[0].strip() for line in requirements.splitlines()
    )
    return "".join(
        f"{line}\n"
        for line in stated
        if line and not line.lower().startswith(_FROM_DEBIAN)
    )


def gather(requirements: Path, into: Path) -> None:
    """Return once ``into`` holds wheels of all that is required.

    Where this Python is the image's, packages without a wheel are built;
    elsewhere only ready wheels can be taken.
    """
    if sys.version_info[:2] == PYTHON:
        how = ["wheel", "--wheel-dir", str(into)]
    else:
        version = ".".join(map(str, PYTHON))
        how = ["download", "--only-binary=:all:", "--python-version", version,
               "--dest", str(into)]  # fmt: skip
    subprocess.run(
        (sys.executable, "-m", "pip", *how, "-qq",
         "--disable-pip-version-check", "--requirement", str(requirements)),
        check=True, stdout=sys.stderr,
    )  # fmt: skip
