"""Loader entries; tests/functional asks bootctl what these say."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import loader_entries
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.formats.loader_entries import LoaderEntry
from gpu_passthrough_plugin.model.installation import Installation
from tests.trees import boot

ON = Requirements(("intel_iommu=on",), ("iommu=off",))


def entry(text: str) -> LoaderEntry:
    parsed = loader_entries.parse("/boot/loader/entries/a.conf", "/boot", text)
    assert parsed is not None
    return parsed


def test_the_fields_of_an_entry() -> None:
    text = "# x\ntitle  A B \nversion 1\nlinux /v\n\tversion\t2\r\noptions\n"
    found = entry(text)
    assert found.fields == {"title": "A B", "version": "2", "linux": "/v"}
    assert found.version == "2"
    assert found.arguments == ()
    assert entry("linux /v").version == ""


def test_the_options_of_all_lines_count() -> None:
    text = 'options a  b="c d"\nlinux /v\n  options\te\r\n#options f\n'
    assert entry(text).arguments == ("a", 'b="c d"', "e")


def test_the_files_are_below_the_partition() -> None:
    text = boot.bls("RHEL", "5.14", "ro", more=" $tuned_initrd /other.img")
    assert entry(text).files == (
        "/boot/vmlinuz-5.14",
        "/boot/initramfs-5.14.img",
        "/boot/other.img",
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("linux /v\noptions ro\n", "linux /v\noptions ro intel_iommu=on\n"),
        ("linux /v", "linux /v\noptions intel_iommu=on\n"),
        (
            "linux /v\n options iommu=off a\noptions  b\r\n",
            "linux /v\n options a\noptions  b intel_iommu=on\r\n",
        ),
        ("linux /v\noptions intel_iommu=on", None),
    ],
)
def test_an_entry_is_edited_where_its_options_stand(
    text: str, wanted: str | None
) -> None:
    edited = loader_entries.edited(entry(text), ON)
    assert edited.text == (text if wanted is None else wanted)
    assert loader_entries.edited(entry(edited.text), ON).text == edited.text


def test_a_correction_is_noted_once() -> None:
    text = "linux /v\noptions intel_iommuu=on\noptions intel_iommuu=on\n"
    assert len(loader_entries.edited(entry(text), ON).notes) == 1


def test_the_entries_of_a_host() -> None:
    files = {
        "/boot/loader/entries/a.conf": b"linux /v\n",
        "/boot/loader/entries/windows.conf": b"efi /w\n",
        "/efi/loader/entries/b.conf": b"linux /v\n",
        "/efi/loader/loader.conf": b"",
    }
    folders = {
        "/boot/loader/entries": ("a.conf", "windows.conf", "x.txt"),
        "/efi/loader/entries": ("b.conf",),
    }
    host = Installation(files, {}, folders, {}, ())
    assert [e.path for e in loader_entries.entries(host)] == [
        "/boot/loader/entries/a.conf",
        "/efi/loader/entries/b.conf",
    ]
    assert loader_entries.loader_conf(host) == "/efi/loader/loader.conf"
    empty = Installation({}, {}, {}, {}, ())
    assert loader_entries.loader_conf(empty) is None
