"""What a driver may declare, and what was read of a host."""

from __future__ import annotations

import re

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
    encoded,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why


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
    with pytest.raises(errors.Invalid, match=re.escape(repr(path))):
        Reads(files=(path,))
    with pytest.raises(errors.Invalid, match=re.escape(repr(path))):
        Reads(folders=(Folder(path),))


def test_a_folder_is_named_in_full() -> None:
    assert Reads(files=("/boot/efi/EFI/*/grub.cfg",)).files
    with pytest.raises(errors.Invalid):
        Reads(folders=(Folder("/boot/*/entries"),))


@pytest.mark.parametrize("name", ["", "bin/grubby", "..", "a\nb"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(errors.Invalid, match=re.escape(repr(name))):
        Reads(tools=(name,))
    with pytest.raises(errors.Invalid, match=re.escape(repr(name))):
        Reads(images=(name,))


INSTALLATION = Installation(
    files={
        "/etc/a.conf": b"\xe9t\xe9\n",
        "/etc/d/b.cfg": b"",
        "/etc/d/a.cfg": b"",
        "/etc/unread": Unknown(Why.UNREADABLE, "Permission denied"),
    },
    links={"/etc/a.conf": "/usr/etc/a.conf"},
    folders={"/etc/d": ("a.cfg", "b.cfg", "c.cfg", "notes")},
    tools={},
    kernels=(),
)


def test_text_keeps_every_byte() -> None:
    text = INSTALLATION.text("/etc/a.conf")
    assert text is not None
    assert encoded(text) == INSTALLATION.content("/etc/a.conf")


def test_a_file_that_does_not_exist_has_no_content() -> None:
    assert INSTALLATION.content("/etc/none") is None
    assert INSTALLATION.text("/etc/none") is None


def test_a_file_that_was_not_readable_is_named() -> None:
    with pytest.raises(errors.ReadFailed, match=r"^/etc/unread "):
        INSTALLATION.text("/etc/unread")


def test_real_paths_are_those_behind_links() -> None:
    assert INSTALLATION.real("/etc/a.conf") == "/usr/etc/a.conf"
    assert INSTALLATION.real("/etc/d/a.cfg") == "/etc/d/a.cfg"


def test_paths_are_those_that_were_read_in_order() -> None:
    paths = ("/etc/d/a.cfg", "/etc/d/b.cfg")
    assert INSTALLATION.paths("/etc/d", ".cfg") == paths
    assert INSTALLATION.paths("/etc/d", ".conf") == ()
    assert INSTALLATION.paths("/etc/none") == ()
    assert INSTALLATION.names("/etc/none") == ()


def test_firmware_is_uefi_where_the_kernel_shows_it() -> None:
    assert not INSTALLATION.is_efi
    assert INSTALLATION._replace(folders={"/sys/firmware/efi": ()}).is_efi
