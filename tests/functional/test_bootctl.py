"""``formats.loader_entries`` against systemd's own reader, bootctl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import kernel_cmdline, loader_entries
from tests.trees import boot

# bootctl takes the root of a file system only.  Without EFI variables it
# lists what is in the partition, and nothing of the firmware's.
_LIST = """\
mkdir -p "$2"
mount -t tmpfs none "$2"
cp -r "$3"/. "$2"
exec "$1" --esp-path="$2" list --json=short
"""


@pytest.fixture(scope="session")
def bootctl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The installed one, or that of Debian's package, unpacked.

    Debian's package is not installed: on a machine with UEFI that makes
    systemd-boot its boot loader.
    """
    installed = shutil.which("bootctl")
    if installed:
        return installed
    folder = tmp_path_factory.mktemp("bootctl")
    get = "apt-get download systemd-boot && dpkg-deb -x systemd-boot_*.deb ."
    subprocess.run(["sh", "-euc", get], cwd=folder, check=True)
    return str(folder / "usr/bin/bootctl")


def listed(
    bootctl: str, folder: Path, texts: list[str]
) -> dict[str, dict[str, str]]:
    """Return what bootctl makes of entries, by the name of the file."""
    partition = folder / "partition"
    shutil.rmtree(partition, ignore_errors=True)
    entries = partition / "loader/entries"
    entries.mkdir(parents=True)
    for number, text in enumerate(texts):
        path = entries / f"{number}.conf"
        path.write_text(text, newline="")
    for name in ("v", "w", "i"):
        (partition / name).touch()
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-euc", _LIST, "sh"),
            *(bootctl, str(folder / "esp"), str(partition)),
        ],
        capture_output=True,
        env={**os.environ, "SYSTEMD_RELAX_ESP_CHECKS": "1"},
        check=True,
    )
    # An entry a line before systemd 253, and one array since.
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if len(rows) == 1 and isinstance(rows[0], list):
        rows = rows[0]
    return {row["id"]: row for row in rows if "linux" in row}


LINES = st.sampled_from(
    (
        "title Linux", "version 6.1", "version\t6.2  ", "linux /v", "linux /w",
        "\tlinux   /v", "initrd /i", "options root=/dev/vda1 ro",
        "options  a\tb  ", "  options c", "\toptions\td=\"e f\"", "options",
        "options ", "# options g", "#options h", "  # options i", "", " ",
        "optionsj k", "OPTIONS l", "options m\r", "linux", "machine-id x",
        "options # n", "options o#p", "efi /v", "options \"", "unknown x y",
    )
)  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(files=st.lists(st.lists(LINES, max_size=9), min_size=1, max_size=6))
def test_any_entry(
    bootctl: str, tmp_path: Path, files: list[list[str]]
) -> None:
    compare(bootctl, tmp_path, ["\n".join(("linux /v", *f)) for f in files])


def test_entries_as_systems_have_them(bootctl: str, tmp_path: Path) -> None:
    compare(
        bootctl,
        tmp_path,
        [
            boot.bls("Fedora", "6.14.5", "root=/dev/vda1 ro rhgb quiet"),
            "title W\nefi /v\n",
            "linux /v\r\noptions a b\r\n",
            "linux /v\noptions a\n\noptions b",
        ],
    )


def compare(bootctl: str, folder: Path, texts: list[str]) -> None:
    ours = {}
    for number, text in enumerate(texts):
        entry = loader_entries.parse(f"{number}.conf", "/boot", text)
        if entry is not None:
            ours[entry.path] = entry
    theirs = listed(bootctl, folder, texts)
    assert theirs.keys() == ours.keys()
    for name, row in theirs.items():
        assert ours[name].fields["linux"] == row["linux"]
        assert ours[name].version == row.get("version", "")
        assert ours[name].arguments == kernel_cmdline.split(
            row.get("options", "")
        )
