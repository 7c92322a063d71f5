"""What each initramfs system sources, read by the shells themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpu_passthrough_plugin.enablement.binding.address import script
from gpu_passthrough_plugin.enablement.driver import InitramfsContent
from gpu_passthrough_plugin.enablement.initramfs import (
    dracut,
    initramfs_tools,
    mkinitcpio,
)
from gpu_passthrough_plugin.model.change import Write
from tests.functional.early import target
from tests.trees import arch, debian, redhat
from tests.trees.host import Host
from tests.trees.installed import installation

EARLY = InitramfsContent(
    script([target("0000:06:00.0", "10de:1430")]),
    ("vfio", "vfio_iommu_type1", "vfio_pci"),
    ("/etc/modprobe.d/gpu-passthrough.conf",),
)


def _arch() -> Host:
    host = arch.arch()
    host.file("etc/mkinitcpio.conf", "HOOKS=(base udev block)\n")
    host.folder("etc/mkinitcpio.conf.d")
    return host


def _files() -> dict[str, Write]:
    return {
        write.path: write
        for driver, host in (
            (dracut.Dracut(), redhat.rhel9()),
            (initramfs_tools.InitramfsTools(), debian.debian12()),
            (mkinitcpio.Mkinitcpio(), _arch()),
        )
        for write in driver.files(installation(host.tree()), EARLY)
    }


FILES = _files()
DIALECTS = {
    dracut.CONFIGURATION: "bash",
    dracut.SETUP: "bash",
    dracut.SCRIPT: "sh",
    initramfs_tools.SCRIPT: "sh",
    initramfs_tools.HOOK: "sh",
    mkinitcpio.INSTALL: "bash",
    mkinitcpio.HOOK: "dash",
    mkinitcpio.DROP_IN: "bash",
}
# Variables that the system reads, files that it has, and words that the
# drop-in splits on purpose.
FOREIGN = "SC2034,SC1091,SC2206"


@pytest.mark.parametrize("path", DIALECTS)
def test_shellcheck_finds_nothing(path: str) -> None:
    done = subprocess.run(
        ("shellcheck", "-s", DIALECTS[path], "-e", FOREIGN, "-"),
        input=FILES[path].becomes,
        capture_output=True,
    )
    assert done.stdout == b""
    assert done.returncode == 0


def test_every_file_is_looked_at() -> None:
    assert FILES.keys() == DIALECTS.keys()


def _run(path: Path, *argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=path)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "path", [initramfs_tools.SCRIPT, initramfs_tools.HOOK]
)
def test_initramfs_tools_is_told_of_no_prerequisite(
    tmp_path: Path, path: str
) -> None:
    program = tmp_path / "script"
    program.write_bytes(FILES[path].becomes or b"")
    program.chmod(FILES[path].mode)
    assert _run(tmp_path, str(program), "prereqs") == "\n"


def test_scripts_without_prerequisites_come_by_their_names(
    tmp_path: Path,
) -> None:
    """As scripts/functions has tsort order them: udev after ours."""
    pairs = "udev framebuffer\n" + "".join(
        f"{name} {name}\n"
        for name in ("blacklist", "framebuffer", "gpu-passthrough", "udev")
    )
    order = subprocess.run(
        ("tsort",), input=pairs, capture_output=True, text=True, check=True
    ).stdout.split()
    assert order.index("gpu-passthrough") < order.index("udev")


def test_dracut_reads_words(tmp_path: Path) -> None:
    (tmp_path / "ours").write_bytes(FILES[dracut.CONFIGURATION].becomes or b"")
    said = _run(
        tmp_path,
        "bash",
        "-c",
        'force_drivers=" ext4 "; . ./ours; echo $force_drivers;'
        " echo $install_items; echo $add_dracutmodules",
    )
    assert said.splitlines() == [
        "ext4 vfio vfio_iommu_type1 vfio_pci",
        "/etc/modprobe.d/gpu-passthrough.conf",
        "gpu-passthrough",
    ]


@pytest.mark.parametrize(
    "hooks",
    ["HOOKS=(base udev block)", 'HOOKS="base udev block"', "HOOKS=(udev)"],
)
def test_mkinitcpio_has_the_hook_before_udev(
    tmp_path: Path, hooks: str
) -> None:
    ours = (FILES[mkinitcpio.DROP_IN].becomes or b"").decode()
    (tmp_path / "all").write_text(
        f"MODULES=(ext4)\nFILES=(/etc/crypttab)\n{hooks}\n{ours}"
    )
    said = _run(
        tmp_path,
        "bash",
        "-c",
        'set -u; . ./all; printf "%s\\n" "${MODULES[@]}" "${FILES[@]}"'
        ' "${HOOKS[@]}"',
    ).split()
    assert said[:4] == ["vfio", "vfio_iommu_type1", "vfio_pci", "ext4"]
    assert said[4:6] == [
        "/etc/crypttab", "/etc/modprobe.d/gpu-passthrough.conf",
    ]  # fmt: skip
    assert said[said.index("gpu-passthrough") + 1] == "udev"
    assert "gpu-passthrough" not in said[said.index("udev") :]


def test_mkinitcpio_finds_a_hook_to_run(tmp_path: Path) -> None:
    (tmp_path / "hook").write_bytes(FILES[mkinitcpio.HOOK].becomes or b"")
    said = _run(tmp_path, "dash", "-c", ". ./hook; type run_earlyhook")
    assert "function" in said
