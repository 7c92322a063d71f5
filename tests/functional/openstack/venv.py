"""The Python environment that the tests' OpenStack is installed in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.functional.lab import image, shelf

CHECKOUT = Path(__file__).resolve().parents[3]
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_READY = ".ready"


def ensure() -> Path:
    """Return the environment's folder, made first if need be.

    It is kept in the cache for as long as the requirements are the same;
    the checkout's package is in it by a path, so that a change counts at
    once.
    """
    kept = image.cache() / "openstack"
    name = shelf.digest(
        _REQUIREMENTS.read_bytes(),
        Path(__file__).read_bytes(),
        f"{sys.version} {sys.base_prefix} {CHECKOUT}".encode(),
    )
    folder = kept / f"venv-{name}"
    with shelf.locked(kept):
        if not (folder / _READY).exists():
            shelf.clear(kept)
            _make(folder)
        shelf.used(folder)
        shelf.used(kept)
    return folder


def program(name: str) -> str:
    """Return the path of a program in the environment."""
    return str(ensure() / "bin" / name)


def environment(**more: str) -> dict[str, str]:
    """Return the variables that its programs are run with.

    Nova's services run as native threads, which is their default in this
    release; its tests' modules would have eventlet if nobody said so.
    """
    path = f"{ensure() / 'bin'}:{os.environ['PATH']}"
    native = {"OS_NOVA_DISABLE_EVENTLET_PATCHING": "true"}
    return os.environ | native | {"PATH": path} | more


def _make(folder: Path) -> None:
    """Return once all is installed; a half is made anew next time."""
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "venv", str(folder))
    _run(str(python), "-m", "pip", "--disable-pip-version-check", "-qq",
         "install", "--requirement", str(_REQUIREMENTS))  # fmt: skip
    library = next(folder.glob("lib/python3.*/site-packages"))
    (library / "gpu-passthrough.pth").write_text(f"{CHECKOUT}\n")
    # Nova's tests look for these beside its package.  Source: nova,
    # tests/functional/api_paste_fixture.py.
    (library / "etc").symlink_to(folder / "etc")
    (folder / _READY).touch()


def _run(*argv: str) -> None:
    """Return once a command succeeded; what it says goes to stderr."""
    subprocess.run(argv, check=True, stdout=sys.stderr)
