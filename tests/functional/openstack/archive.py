"""nova-compute as an archive for the emulated host's Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.functional.lab import image, shelf
from tests.functional.lab.wheels import PYTHON

WHERE = "opt/nova"
"""The folder that it unpacks, seen from the root."""

PACKAGES = f"{WHERE}/packages"
"""Where nova-compute's Python looks for modules."""

# Nova, and what goes with it of what it does not say.
_REQUIREMENTS = ("nova>=34.0.0,<35", "SQLAlchemy>=2.0.20,<2.1")
# A third of it all, which no compute imports.
_UNUSED = ("numpy", "numpy.libs", "pygments", "setuptools", "bin", "*/tests",
           "*/locale", "netaddr/eui/*.txt")  # fmt: skip
# libvirt's binding is Debian's own, as all of the image's.
_SCRIPT = """\
#!/bin/sh
export PYTHONPATH=/{packages}
exec python3 -c 'import sys; from {module} import {function} as main
sys.argv[0] = "{name}"; sys.exit(main())' "$@"
"""
_SCRIPTS = {
    "nova-compute": ("nova.cmd.compute", "main"),
    "privsep-helper": ("oslo_privsep.daemon", "helper_main"),
}


def ensure() -> Path:
    """Return a tar to unpack in a host's root, kept in the cache."""
    kept = image.cache() / "openstack"
    own = Path(__file__).read_bytes()
    name = shelf.digest(own, sys.version.encode())
    folder = kept / f"compute-{name}"
    with shelf.locked(kept):
        if not folder.is_dir():
            shelf.clear(kept)
            with shelf.beside(folder) as building:
                _build(building)
        shelf.used(folder)
        shelf.used(kept)
    return folder / "compute.tar"


def _build(folder: Path) -> None:
    """Return once ``folder`` has the archive."""
    root = folder / "root"
    packages = root / PACKAGES
    native = sys.version_info[:2] == PYTHON
    _install(packages, native)
    for pattern in _UNUSED:
        for path in packages.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if native:
        _run("-m", "compileall", "-q", "-j", "2", "-s", str(root), "-p", "/",
             str(packages))  # fmt: skip
    scripts = root / WHERE / "bin"
    scripts.mkdir()
    for name, (module, function) in _SCRIPTS.items():
        text = _SCRIPT.format(
            packages=PACKAGES, module=module, function=function, name=name
        )
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    with tarfile.open(folder / "compute.tar", "w") as tar:
        tar.add(root, arcname=".", filter=_as_root)
    shutil.rmtree(root)


def _install(packages: Path, native: bool) -> None:
    """Return once the packages are there, for the image's Python."""
    version = ".".join(map(str, PYTHON))
    other = ("--python-version", version, "--only-binary=:all:")
    _run("-m", "pip", "--disable-pip-version-check", "-qq", "install",
         "--no-compile", "--target", str(packages),
         *(() if native else other), *_REQUIREMENTS)  # fmt: skip


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return ``entry``, owned by root whoever builds."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _run(*argv: str) -> None:
    """Return once our Python did it; what it says goes to stderr."""
    subprocess.run((sys.executable, *argv), check=True, stdout=sys.stderr)
