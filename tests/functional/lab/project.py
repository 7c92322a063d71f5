"""The checkout's package, brought into a running emulated host."""

import importlib.resources
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from .host import EmulatedHost
from .wheels import PYTHON

_VENV = "opt/gpu-passthrough"
PACKAGES = f"/{_VENV}/lib/python{PYTHON[0]}.{PYTHON[1]}/site-packages"
"""Where a host has the project's modules."""

_LINKS = "usr/local/bin"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq")


def archive(checkout: Path, workdir: Path) -> bytes:
    """Return a tar of the checkout, installed, to unpack in a host's root.

    All of the work is done here, natively: under emulation pip alone
    would take half a minute.  Changes that are not committed count.

    :param workdir: an empty folder to build in.
    """
    snapshot, root = workdir / "snapshot", workdir / "root"
    _snapshot(checkout, snapshot)
    _install(_wheel(snapshot, workdir / "wheel"), root)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(root, arcname=".", filter=_as_root)
    return stream.getvalue()


def install(host: EmulatedHost, archived: bytes) -> None:
    """Return once the host has the project, and its commands on PATH."""
    unpack = ("tar", "-C", "/", "--no-overwrite-dir", "-xf", "-")
    host.run(unpack, stdin=archived)


def install_packages(host: EmulatedHost, *names: str) -> None:
    """Return once the host has packages of this Python's, pure ones.

    What tests need of them there is no business of the image's.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            folder = Path(str(importlib.resources.files(name)))
            tar.add(folder, arcname=f".{PACKAGES}/{name}", filter=_as_root)
    install(host, stream.getvalue())


def _snapshot(checkout: Path, into: Path) -> None:
    """Return once ``into`` is a clone with the checkout's present files.

    Built elsewhere, a checkout's old ``build`` folder lends it nothing; a
    clone, because pbr asks git for the version and for the data files.
    """
    _git(checkout, "clone", "--quiet", "--shared", "--no-checkout",
         ".", str(into))  # fmt: skip
    listed = _git(checkout, "ls-files", "-z", "--cached", "--others",
                  "--exclude-standard")  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = checkout / name, into / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    _git(into, "add", "--all")


def _git(folder: Path, *argv: str) -> str:
    """Return what git prints in ``folder``."""
    return subprocess.run(
        ("git", *argv), cwd=folder, check=True, stdout=subprocess.PIPE,
        text=True,
    ).stdout  # fmt: skip


def _wheel(source: Path, into: Path) -> Path:
    """Return the wheel of a source tree."""
    subprocess.run(
        (*_PIP, "wheel", "--no-deps", "--wheel-dir", str(into), str(source)),
        check=True, stdout=sys.stderr,
    )  # fmt: skip
    return next(into.glob("*.whl"))


def _install(wheel: Path, root: Path) -> None:
    """Return once ``root`` has the wheel where the host's venv is."""
    prefix = root / _VENV
    subprocess.run(
        (*_PIP, "install", "--no-deps", "--no-index", "--ignore-installed",
         "--no-compile", "--no-warn-script-location", "--prefix",
         str(prefix), str(wheel)),
        check=True, stdout=sys.stderr,
    )  # fmt: skip
    native = sys.version_info[:2]
    library = prefix / "lib"
    ours, theirs = (
        library / f"python{major}.{minor}" for major, minor in (native, PYTHON)
    )
    ours.rename(theirs)
    if native == PYTHON:
        _compile(theirs, root)
    (root / _LINKS).mkdir(parents=True)
    for script in (prefix / "bin").iterdir():
        _use_venv(script)
        (root / _LINKS / script.name).symlink_to(f"/{_VENV}/bin/{script.name}")


def _compile(library: Path, root: Path) -> None:
    """Return once all modules are compiled, under their later names."""
    subprocess.run(
        (sys.executable, "-m", "compileall", "-q", "-s", str(root), "-p", "/",
         str(library)),
        check=True,
    )  # fmt: skip


def _use_venv(script: Path) -> None:
    """Return once a script is run by the Python of the host's venv."""
    _, _, rest = script.read_bytes().partition(b"\n")
    script.write_bytes(f"#!/{_VENV}/bin/python3\n".encode() + rest)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return ``entry``, owned by root whoever builds."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
