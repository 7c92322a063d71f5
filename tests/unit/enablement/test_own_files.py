"""Which files are this product's own, and what changes them."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import own_files
from gpu_passthrough_plugin.enablement.own_files import OwnFile
from gpu_passthrough_plugin.model.change import Action, Write
from gpu_passthrough_plugin.model.installation import Kernel
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.unit.enablement.values import installed

PATH = "/etc/modprobe.d/gpu-passthrough.conf"


def write(text: str | None, present: str | None = None) -> tuple[Write, ...]:
    files = {} if present is None else {PATH: present}
    return own_files.writes(installed(files), OwnFile("bind", PATH, text))


@pytest.mark.parametrize(
    ("present", "text", "action"),
    [
        (None, "a\n", Action.CREATE),
        ("b\n", "a\n", Action.CHANGE),
        ("a\n", "a\n", Action.KEEP),
        ("a\n", None, Action.REMOVE),
    ],
)
def test_a_file_gets_its_text_whatever_it_holds(
    present: str | None, text: str | None, action: Action
) -> None:
    (change,) = write(text, present)
    assert (change.step, change.path) == ("bind", PATH)
    assert change.becomes == (None if text is None else text.encode())
    assert change.action is action


def test_a_file_that_is_not_there_is_not_removed() -> None:
    assert write(None) == ()


def test_every_file_has_its_own_mode_and_place_in_the_order() -> None:
    files = (OwnFile("b", "/etc/b", "b"), OwnFile("a", "/etc/a", "a", 0o755))
    writes = own_files.writes(installed(), *files)
    assert [(w.path, w.mode) for w in writes] == [
        ("/etc/b", 0o644),
        ("/etc/a", 0o755),
    ]


def test_a_file_that_cannot_be_read_is_not_written() -> None:
    unreadable = installed()._replace(
        files={PATH: Unknown(Why.UNREADABLE, "Permission denied")}
    )
    with pytest.raises(errors.ReadFailed, match=PATH):
        own_files.writes(unreadable, OwnFile("bind", PATH, "a\n"))


@pytest.mark.parametrize(
    ("builtin", "names"),
    [
        ([], ("vfio", "vfio_pci")),
        ([frozenset({"vfio"})], ("vfio_pci",)),
        ([frozenset({"vfio", "vfio_pci"})], ()),
        ([frozenset({"vfio"}), frozenset({"vfio_pci"})], ("vfio", "vfio_pci")),
        ([frozenset({"vfio"}), MISSING], ("vfio", "vfio_pci")),
    ],
)
def test_what_every_kernel_has_built_in_is_not_loaded(
    builtin: list[frozenset[str] | Unknown], names: tuple[str, ...]
) -> None:
    kernels = [Kernel("6.1", None, modules) for modules in builtin]
    assert own_files.loadable(kernels, ("vfio", "vfio_pci")) == names
