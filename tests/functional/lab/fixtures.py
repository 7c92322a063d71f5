"""Fixtures: one boot for each topology in a session, and fresh ones.

A test module gets them by ``pytest_plugins = (this module's name,)``.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from . import build, enabling, image, project, topology
from .host import WITH_IOMMU, WITHOUT_IOMMU, Boot, EmulatedHost
from .topology import Topology

CHECKOUT = Path(__file__).resolve().parents[3]

TOOLS = ("qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen", "setpriv",
         "mmdebstrap", "unshare", "mke2fs", "gcc", "ld")  # fmt: skip
"""What the machine that runs the lab has to have."""


@pytest.fixture(scope="session")
def lab_image(request: pytest.FixtureRequest) -> image.Image:
    """The disk that all hosts start from; built when it is missing."""
    return _built(request, build.INITRAMFS_TOOLS)


@pytest.fixture(scope="session")
def dracut_image(request: pytest.FixtureRequest) -> image.Image:
    """The same, but for dracut, which builds its initramfs."""
    return _built(request, "dracut")


def _built(request: pytest.FixtureRequest, initramfs: str) -> image.Image:
    """Return an image; what a build of minutes says is shown at once."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.fail(f"the lab needs {', '.join(missing)}; see bindep.txt")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    shown = capture.global_and_fixture_disabled if capture else nullcontext
    with shown():
        return image.ensure(CHECKOUT / "requirements.txt", initramfs)


@pytest.fixture(scope="session")
def project_archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The installed project, for ``project.install(host, …)``."""
    return project.archive(CHECKOUT, tmp_path_factory.mktemp("project"))


@pytest.fixture
def boot(lab_image: image.Image, tmp_path: Path) -> Iterator[Boot]:
    """A function that boots fresh hosts, for tests that change one."""
    with ExitStack() as running:

        def started(
            topology: Topology,
            kernel_arguments: Sequence[str] | None = WITH_IOMMU,
            built: image.Image = lab_image,
        ) -> EmulatedHost:
            workdir = Path(tempfile.mkdtemp(dir=tmp_path))
            return running.enter_context(
                EmulatedHost(topology, built, workdir, kernel_arguments)
            )

        yield started


@pytest.fixture
def off_host(boot: Boot, project_archive: bytes) -> EmulatedHost:
    """A host that boots by itself, and was never enabled."""
    host = boot(topology.SEED, WITHOUT_IOMMU)
    enabling.prepare(host, project_archive, enabling.OFF)
    return host


@pytest.fixture(scope="session")
def seed_host(
    lab_image: image.Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedHost]:
    """Three cards, each a group; left by each test as it was found."""
    yield from _running(topology.SEED, lab_image, tmp_path_factory)


@pytest.fixture(scope="session")
def shared_host(
    lab_image: image.Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedHost]:
    """Two cards in one group; left by each test as it was found."""
    yield from _running(topology.SHARED, lab_image, tmp_path_factory)


@pytest.fixture(scope="session")
def numa_host(
    lab_image: image.Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedHost]:
    """Two cards on each of two nodes; left by each test as it was found."""
    yield from _running(topology.NUMA, lab_image, tmp_path_factory)


def _running(
    what: Topology, built: image.Image, folders: pytest.TempPathFactory
) -> Iterator[EmulatedHost]:
    """Return a context's worth of a running host."""
    with EmulatedHost(what, built, folders.mktemp(what.name)) as host:
        yield host
