"""A described Debian is enabled and taken back: real files, small tools."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.conf.enablement import Enablement
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import enablement, host_snapshot
from gpu_passthrough_plugin.flow.enablement import BootContext, EnableOptions
from gpu_passthrough_plugin.host.boot.apply import Applier
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.host.boot.revert import Reverter
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.change import Action, Change
from tests.trees.host import Host
from tests.trees.systems import SYSTEMS

CHOICE = Enablement(None, None, None, "address", False, False, ())
ANYTHING = EnableOptions()
DISPLAYS = (selector.parse("class=03*"),)
GRUB, MENU = "etc/default/grub", "boot/grub/grub.cfg"
DROP_IN = "etc/default/grub.d/90-gpu-passthrough.cfg"
IMAGES = ("boot/initrd.img-6.1.0-18-amd64", "boot/initrd.img-6.1.0-28-amd64")
BOOT_ID = "proc/sys/kernel/random/boot_id"
# Run in the root of the tree, so that paths are made relative.
_TOOLS = {
    "update-grub": """#!/bin/sh -e
. ./etc/default/grub
for file in etc/default/grub.d/*.cfg; do
    [ ! -e "$file" ] || . "./$file"
done
for kernel in boot/vmlinuz-*; do
    echo "linux /$kernel root=/dev/vda1 ro $GRUB_CMDLINE_LINUX"
done >"${2:+.$2}"
""",
    "mkinitramfs": """#!/bin/sh -e
{
    echo usr/lib/modules/vfio.ko
    echo usr/lib/modules/vfio_iommu_type1.ko
    echo usr/lib/modules/vfio-pci.ko
    for file in etc/modprobe.d/*.conf; do
        [ ! -e "$file" ] || { echo "$file"; cat "$file"; }
    done
    for file in etc/initramfs-tools/scripts/*/*; do
        [ ! -e "$file" ] || echo "${file#etc/initramfs-tools/}"
    done
    printf '%4096s\n' "an image of $3"
} >".$2"
""",
    "lsinitramfs": '#!/bin/sh\ncat ".$1"\n',
}


@dataclasses.dataclass
class Debian:
    """The host below ``root``; what was said of it is in ``said``."""

    root: Path
    state: Path
    said: list[str] = dataclasses.field(default_factory=list)
    choice: Enablement = CHOICE
    is_configured: bool = False

    @property
    def context(self) -> BootContext:
        commands = Commands(
            str(self.state / "log"),
            str(self.state / "lock"),
            self.said.append,
            root=str(self.root),
        )
        changes = JournalStore(str(self.state / "enablement"))
        hands = (Files(str(self.root)), commands, changes, self.said.append)
        tree = HostTree(str(self.root))
        return BootContext(
            tree=tree,
            policy=Policy(DISPLAYS),
            settings=self.choice,
            applier=Applier(*hands),
            reverter=Reverter(*hands),
            lock=contextlib.nullcontext,
            say=self.said.append,
            selection=lambda: host_snapshot.read_selection(
                tree, DISPLAYS, is_configured=self.is_configured
            ),
        )

    def enable(self, options: EnableOptions = ANYTHING) -> set[str]:
        """Which actions enabling took."""
        made = enablement.enable(self.context, options, self._tell)
        return {change.action for change in made}

    def disable(self) -> None:
        enablement.disable(self.context)

    def _tell(self, notes: Iterable[str], _: Iterable[Change]) -> None:
        self.said += notes

    def boot_id(self) -> str:
        history = JournalStore(str(self.state / "enablement")).read()
        assert history is not None
        return history.enablement.boot_id

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def put(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for folder in ("etc", "boot")
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def debian(tmp_path: Path) -> Debian:
    return written(SYSTEMS["debian12"](), tmp_path)


def written(host: Host, place: Path) -> Debian:
    root = host.write(place / "root")
    for name, script in _TOOLS.items():
        for folder in ("usr/sbin", "usr/bin"):
            path = root / folder / name
            if path.exists():
                path.write_text(script)
                path.chmod(0o755)
    made = Debian(root, place / "state")
    (root / BOOT_ID).parent.mkdir(parents=True, exist_ok=True)
    made.put(BOOT_ID, "first\n")
    return made


def test_there_and_back(debian: Debian) -> None:
    before = debian.files()
    assert debian.enable() >= {Action.CREATE, Action.CHANGE, Action.RUN}
    assert "intel_iommu=on" in debian.text(MENU)
    assert all("scripts/init-top/gpu" in debian.text(i) for i in IMAGES)
    assert "host verify" in debian.said[-1]
    assert debian.enable() == {Action.KEEP}
    assert "host verify" not in debian.said[-1]
    debian.disable()
    assert debian.files() == before
    assert not list((debian.state / "enablement").glob("*"))
    debian.disable()
    assert "not enabled" in debian.said[-1]


def test_the_boot_that_counts_is_that_of_the_last_change(
    debian: Debian,
) -> None:
    debian.enable()
    debian.put(BOOT_ID, "second\n")
    debian.enable()
    assert debian.boot_id() == "first"
    debian.enable(EnableOptions(blacklist=("nouveau",)))
    assert debian.boot_id() == "second"


def test_the_dry_run_is_the_plan_of_the_run(debian: Debian) -> None:
    before = debian.files()
    plan = enablement.plan_enable(debian.context, EnableOptions())
    assert debian.files() == before
    made = enablement.enable(debian.context, EnableOptions(), lambda *_: None)
    assert made == plan.changes
    shown = enablement.plan_disable(debian.context)
    assert shown == enablement.disable(debian.context)


def test_another_wish_takes_the_place_of_the_first(debian: Debian) -> None:
    """What is no longer wanted goes; the first original stays."""
    before = debian.files()
    debian.choice = dataclasses.replace(CHOICE, iommu_passthrough=True)
    debian.enable(EnableOptions(binding="ids", blacklist=("nouveau",)))
    assert "iommu=pt" in debian.text(MENU)
    assert all("blacklist nouveau" in debian.text(i) for i in IMAGES)
    debian.choice = CHOICE
    debian.enable()
    assert "iommu=pt" not in debian.text(MENU)
    gone = ("gpu-passthrough.conf", "gpu-passthrough-blacklist.conf")
    assert not any((debian.root / "etc/modprobe.d" / n).exists() for n in gone)
    debian.disable()
    assert debian.files() == before


def test_a_kernel_that_came_since_is_built_without_ours(
    debian: Debian,
) -> None:
    debian.enable()
    debian.put("boot/vmlinuz-6.2", "a kernel\n")
    debian.put("boot/initrd.img-6.2", "with scripts/init-top/gpu\n" * 9)
    (debian.root / "lib/modules/6.2").mkdir()
    debian.disable()
    assert "gpu-passthrough" not in debian.text("boot/initrd.img-6.2")
    assert debian.text(IMAGES[0]) == "an image\n"


def test_drivers_that_changed_are_not_mixed(debian: Debian) -> None:
    debian.enable()
    debian.choice = dataclasses.replace(CHOICE, bootloader="grub2")
    with pytest.raises(errors.Refused, match="run 'gpu-passthrough host dis"):
        debian.enable()


def test_an_editor_is_heard(debian: Debian) -> None:
    """Another argument, put right behind ours, outlives the undoing."""
    debian.enable()
    drop_in = debian.text(DROP_IN)
    debian.put(DROP_IN, drop_in.replace("=on", "=on nosmt"))
    debian.disable()
    assert "nosmt" in debian.text(DROP_IN)
    assert any(DROP_IN in line and "edited" in line for line in debian.said)
