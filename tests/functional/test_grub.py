"""``formats.grub_*`` against GRUB's own programs, of Debian's grub-common."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats import grub_defaults, grub_menu
from gpu_passthrough_plugin.formats.grub_defaults import (
    CMDLINE,
    CMDLINE_DEFAULT,
    CommandLines,
    DefaultsFile,
)
from tests.trees import boot

# In a mount namespace: kernels, settings and a grub-probe of the test's, and
# no more scripts than those that write the entries.
_MKCONFIG = """\
mount --bind "$1/boot" /boot
mount --bind "$1/default" /etc/default
mount --bind "$1/probe" /usr/sbin/grub-probe
cp /etc/grub.d/00_header /etc/grub.d/10_linux "$1/scripts"
mount --bind "$1/scripts" /etc/grub.d
exec grub-mkconfig
"""
_PROBE = """\
#!/bin/sh
case "$*" in
*target=device*) echo /dev/vda1 ;;
*target=fs_uuid*) echo 1234-5678 ;;
*target=fs*) echo ext2 ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("boot", "default/grub.d", "scripts"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("vmlinuz-6.1.0-18-amd64", "initrd.img-6.1.0-18-amd64"):
        (tmp_path / "boot" / name).write_text("not empty\n")
    probe = tmp_path / "probe"
    probe.write_text(_PROBE)
    probe.chmod(0o755)
    return tmp_path


def menu_made_by_grub(folder: Path, defaults: str, drop_in: str) -> str:
    (folder / "default/grub").write_text(defaults)
    (folder / "default/grub.d/50-site.cfg").write_text(drop_in)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", _MKCONFIG, "sh", str(folder)],
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("defaults", "drop_in"),
    [
        (f'{CMDLINE_DEFAULT}="quiet"\n{CMDLINE}=""\n', ""),
        (f'{CMDLINE_DEFAULT}="quiet"\n{CMDLINE}="a=1"\n', f"{CMDLINE}=b\n"),
        (
            f'{CMDLINE_DEFAULT}=\'quiet splash\'\n{CMDLINE}="a  b\\"c d\\""',
            f'{CMDLINE}="${CMDLINE} intel_iommu=on"\n',
        ),
        (f'X="x y"\n{CMDLINE}="$X ${{X}} $Y"\n', f"# {CMDLINE}=b\n"),
        (f"export {CMDLINE}=a # b\n{CMDLINE_DEFAULT}=c", f"X='{CMDLINE}=b'\n"),
        (f'if true; then\n X=y\nfi\n{CMDLINE}="a"\n', ": nothing\n"),
        (f'{CMDLINE}="a=$b \\$c"\n', f'{CMDLINE_DEFAULT}="d\\\n  e"\n'),
    ],
)
def test_the_menu_has_the_words_that_the_defaults_say(
    folder: Path, defaults: str, drop_in: str
) -> None:
    menu = menu_made_by_grub(folder, defaults, drop_in)
    assert grub_menu.is_menu(menu)
    assert not grub_menu.has_loader_entries(menu)
    lines = grub_defaults.command_lines(
        [DefaultsFile("/a", defaults), DefaultsFile("/b", drop_in)]
    )
    assert isinstance(lines, CommandLines)
    root = ("root=/dev/vda1", "ro")
    entries = grub_menu.kernel_arguments("m", menu)
    assert list(entries.values()) == [
        (*root, *lines.every, *lines.normal),
        (*root, *lines.every, *lines.normal),
        (*root, "single", *lines.every),
    ]


def test_described_menus_are_what_grub_takes(tmp_path: Path) -> None:
    for text in (
        boot.menu("Debian", [("/vmlinuz-6.1", "root=/dev/vda1 ro quiet")]),
        boot.BLS_MENU,
        boot.STUB,
    ):
        path = tmp_path / "grub.cfg"
        path.write_text(text)
        subprocess.run(["grub-script-check", str(path)], check=True)


SIGNATURE = "# GRUB Environment Block\n"
PIECES = st.sampled_from(
    ("a", "b=", "=", "root=/dev/vda1 ro", " ", "\\", "\\\n", "#", "\n#",
     "\\\\", "é", "\t", "##"),
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("".join)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(parts=st.lists(TEXTS, max_size=6))
def test_any_environment_block(tmp_path: Path, parts: list[str]) -> None:
    lines = (f"{number}_{part}\n" for number, part in enumerate(parts))
    compare_block(tmp_path, SIGNATURE + "".join(lines))


@pytest.mark.parametrize(
    "block",
    [
        boot.grubenv(saved_entry="a b", kernelopts="root=/dev/vda1 ro "),
        boot.grubenv(),
        f"{SIGNATURE}a=b",
        f"{SIGNATURE}a=b\\\nc\\=d\n#x=\\\ny=z\nb=\n",
    ],
)
def test_an_environment_block(tmp_path: Path, block: str) -> None:
    compare_block(tmp_path, block)


def compare_block(folder: Path, block: str) -> None:
    path = folder / "grubenv"
    path.write_text(block)
    done = subprocess.run(
        ["grub-editenv", str(path), "list"],
        capture_output=True,
        check=block != SIGNATURE,
        text=True,
    )
    names = re.findall(r"^([^=\n]+)=", done.stdout, re.MULTILINE)
    if len(set(names)) < len(names):
        # Of two values of one name the later one counts.
        return
    variables = grub_menu.environment(block)
    shown = "".join(f"{name}={value}\n" for name, value in variables.items())
    assert shown == done.stdout


def test_what_is_no_environment_block(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    path.write_text("a=b\n")
    done = subprocess.run(
        ["grub-editenv", str(path), "list"], capture_output=True, check=False
    )
    assert done.returncode
    assert grub_menu.environment("a=b\n") == {}
