"""What a driver may declare that it reads of a host."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.installation import Folder, Reads


def test_a_union_has_each_once_and_in_order() -> None:
    first = Reads(
        ("/etc/a", "/etc/b"),
        (Folder("/etc/d"),),
        ("grubby",),
        ("i-{release}",),
    )
    second = Reads(("/etc/b", "/etc/c"), (Folder("/etc/d", (".conf",)),))
    assert first | second == Reads(
        ("/etc/a", "/etc/b", "/etc/c"),
        (Folder("/etc/d"), Folder("/etc/d", (".conf",))),
        ("grubby",),
        ("i-{release}",),
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "etc/grub",
        "/etc/../root/.ssh",
        "/etc//grub",
        "/etc/./grub",
        "/etc/grub/",
        "/etc/a\nb",
        "/etc/a\0b",
        "/proc/kcore",
        "/dev/sda",
        "/sys/firmware/dmi",
        "/*/grub",
        "/etc/*",
        "/etc/g*/x",
        "/etc/*/*/x",
        "/a/b/c/d/e/f/g/h/i",
    ],
)
def test_paths_that_no_driver_may_read(path: str) -> None:
    with pytest.raises(errors.Invalid, match="not a path that a driver"):
        Reads(files=(path,))
    with pytest.raises(errors.Invalid, match="not a path that a driver"):
        Reads(folders=(Folder(path),))


def test_a_folder_is_named_in_full() -> None:
    assert Reads(files=("/boot/efi/EFI/*/grub.cfg",)).files
    with pytest.raises(errors.Invalid):
        Reads(folders=(Folder("/boot/*/entries"),))


@pytest.mark.parametrize("name", ["", "bin/grubby", "..", "a\nb"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(errors.Invalid, match="not a plain name"):
        Reads(tools=(name,))
    with pytest.raises(errors.Invalid, match="not a plain name"):
        Reads(images=(name,))
