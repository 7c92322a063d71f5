"""A sysfs of plain files, and the early script run on it by a shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gpu_passthrough_plugin.enablement.binding.address import script
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.change_history import Target

SHELLS = (("dash",), ("bash", "--posix"), ("bash",))
# What the kernel does when the driver registers: it takes each function
# that is kept for it.
_MODPROBE = """\
#!/bin/sh
echo "modprobe $*" >>{log}
[ -e {folder}/broken ] && exit 1
for device in {pci}/devices/*; do
    read -r driver <"$device/driver_override"
    [ "$driver" = vfio-pci ] || continue
    mkdir -p {pci}/drivers/vfio-pci
    ln -s "$device" {pci}/drivers/vfio-pci/
done
"""


class Sysfs:
    """What is written to it, in the order of the writes where it matters.

    :param log: the kernel's, in which ``modprobe`` is told of as well.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "kmsg"
        self._pci = folder / "sys" / "bus" / "pci"
        self._opened: dict[Path, int] = {}
        (self._pci / "devices").mkdir(parents=True)
        (self._pci / "drivers").mkdir()
        self._written(self._pci / "drivers_probe")
        program = folder / "modprobe"
        program.write_text(
            _MODPROBE.format(log=self.log, folder=folder, pci=self._pci)
        )
        program.chmod(0o755)

    def add(
        self, place: str, ids: str, driver: str = "", override: bool = True
    ) -> None:
        """Add a function; one without ``override`` is of an old kernel."""
        device = self._pci / "devices" / place
        device.mkdir()
        for name, value in zip(
            ("vendor", "device"), ids.split(":"), strict=True
        ):
            (device / name).write_text(f"0x{value}\n")
        if override:
            (device / "driver_override").write_text("(null)\n")
        if driver:
            folder = self._pci / "drivers" / driver
            folder.mkdir(exist_ok=True)
            (folder / place).symlink_to(device)
            if not (folder / "unbind").exists():
                self._written(folder / "unbind")

    def no_vfio(self) -> None:
        """Have ``modprobe`` fail."""
        (self.folder / "broken").touch()

    def builtin(self) -> None:
        """Have vfio-pci there from the beginning."""
        (self._pci / "drivers" / "vfio-pci").mkdir()

    def run(self, shell: Sequence[str], *targets: Target) -> None:
        """Source the script as an init would that stops at any error."""
        text = script(targets, str(self.folder / "sys"), str(self.log))
        path = self.folder / "early.sh"
        path.write_text(text)
        done = subprocess.run(
            (*shell, "-c", f"set -eu\n. {path}\necho survived\nset"),
            capture_output=True,
            text=True,
            env={
                "PATH": str(self.folder) + ":/usr/bin:/bin",
                # It is not to look at what the boot hands it.
                "gpupt_pci": "/nowhere",
                "sysfs": "/nowhere",
                "kmsg": "/nowhere",
            },
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout.splitlines()
        assert said[0] == "survived"
        assert not [row for row in said if row.startswith("gpupt_")]

    def override(self, place: str) -> str:
        path = self._pci / "devices" / place / "driver_override"
        return path.read_text().strip()

    def probed(self) -> list[str]:
        return self._read(self._pci / "drivers_probe")

    def unbound(self, driver: str) -> list[str]:
        return self._read(self._pci / "drivers" / driver / "unbind")

    def told(self) -> list[str]:
        """Lines of the log, without the level and our name."""
        if not self.log.exists():
            return []
        rows = self.log.read_text().splitlines()
        return [row.partition(">gpu-passthrough: ")[2] or row for row in rows]

    def close(self) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)

    def _written(self, path: Path) -> None:
        """A file that keeps each write to it, as no plain one does."""
        os.mkfifo(path)
        self._opened[path] = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def _read(self, path: Path) -> list[str]:
        try:
            return os.read(self._opened[path], 65536).decode().split()
        except BlockingIOError:
            return []


def target(place: str, ids: str) -> Target:
    vendor, product = (int(part, 16) for part in ids.split(":"))
    return Target(address.parse(place), vendor, product, 0x030000, True)
