"""A driver in a package of its own: installed, found, recorded, applied."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import stevedore.extension

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.conf.enablement import Enablement
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import boot_state, enablement
from gpu_passthrough_plugin.flow.enablement import BootContext, EnableOptions
from gpu_passthrough_plugin.host.boot.apply import Applier
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.host.boot.revert import Reverter
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.change import Action
from tests.trees import boot

SOURCE = Path(__file__).with_name("third_party")
RELEASE = "6.1.0-28-amd64"
SETTINGS, MAP = "etc/lantern.conf", "boot/lantern.map"
# Commands run in the root of the tree, so that paths are made relative.
_TOOLS = {
    "usr/sbin/lantern-install": "#!/bin/sh -e\n"
    "sed -n 's/^arguments *= *//p' etc/lantern.conf >boot/lantern.map\n",
    "usr/sbin/mkinitramfs": "#!/bin/sh -e\n"
    "{\n"
    "    echo usr/lib/modules/vfio.ko\n"
    "    echo usr/lib/modules/vfio_iommu_type1.ko\n"
    "    echo usr/lib/modules/vfio-pci.ko\n"
    "    for file in etc/modprobe.d/*.conf; do\n"
    '        [ ! -e "$file" ] || echo "$file"\n'
    "    done\n"
    "    printf '%4096s\\n' image\n"
    '} >".$2"\n',
    "usr/bin/lsinitramfs": '#!/bin/sh\ncat ".$1"\n',
}
BY_IDS = EnableOptions(binding="ids")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host that boots by Lantern, as files."""
    host = boot.host(RELEASE, "root=/dev/vda1 quiet")
    boot.kernel(host, RELEASE, f"initrd.img-{RELEASE}")
    boot.tools(host, *_TOOLS)
    host.file(SETTINGS, "timeout = 5\narguments = root=/dev/vda1 quiet\n")
    host.file(MAP, "root=/dev/vda1 quiet\n")
    host.file("etc/lantern.d/50-site.conf", "colour = amber\n")
    made = host.write(tmp_path / "root")
    for path, script in _TOOLS.items():
        (made / path).write_text(script)
        (made / path).chmod(0o755)
    return made


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third party's package, installed by pip from its wheel."""
    wheel = tmp_path / "lantern-1.0-py3-none-any.whl"
    info = "lantern-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(SOURCE / "lantern.py", "lantern.py")
        names = ["lantern.py"]
        for path in sorted((SOURCE / "lantern.dist-info").iterdir()):
            names.append(f"{info}/{path.name}")
            archive.write(path, names[-1])
        record = "".join(f"{name},,\n" for name in (*names, f"{info}/RECORD"))
        archive.writestr(f"{info}/RECORD", record)
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--no-index", "--no-deps")
    subprocess.run(
        (*pip, "--quiet", "--target", str(site), str(wheel)), check=True
    )
    monkeypatch.syspath_prepend(site)
    manager = stevedore.extension.ExtensionManager
    monkeypatch.setattr(manager, "ENTRY_POINT_CACHE", {})
    # stevedore would keep what it found in the home folder.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def boot_context(root: Path, state: Path) -> BootContext:
    said: list[str] = []
    commands = Commands(
        str(state / "log"), str(state / "lock"), said.append, root=str(root)
    )
    changes = JournalStore(str(state / "enablement"))
    hands = (Files(str(root)), commands, changes, said.append)
    return BootContext(
        tree=HostTree(str(root)),
        policy=Policy((selector.parse("class=03*"),)),
        settings=Enablement(None, None, None, "ids", False, False, ()),
        applier=Applier(*hands),
        reverter=Reverter(*hands),
        lock=contextlib.nullcontext,
        say=said.append,
    )


@pytest.mark.usefixtures("installed")
def test_its_files_are_recorded_and_planned_with(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = str(tmp_path / "host.umockdev")
    assert main.main(["--root", str(root), "host", "record", recording]) == 0
    tree = recorded_tree.load(recording)
    assert tree.read(SETTINGS) == (root / SETTINGS).read_bytes()
    replayed = boot_state.read_installation(tree)
    shown = boot_state.read_installation(HostTree(str(root)))
    # Of what is built into a kernel a recording keeps a part.
    assert replayed._replace(kernels=()) == shown._replace(kernels=())
    capsys.readouterr()
    plan = ["host", "enable", "--dry-run", "--binding", "ids", "-f", "json"]
    assert main.main(["--recording", recording, *plan]) == 0
    out, err = capsys.readouterr()
    actions = {row["Target"]: row["Action"] for row in json.loads(out)}
    assert actions["/etc/lantern.conf"] == "change"
    assert actions["/usr/sbin/lantern-install"] == "run"
    assert "lantern: /usr/sbin/lantern-install and /etc/lantern.conf" in err
    assert "+arguments = root=/dev/vda1 quiet intel_iommu=on" in err


@pytest.mark.usefixtures("installed")
def test_its_plan_is_applied_and_taken_back(
    root: Path, tmp_path: Path
) -> None:
    before = {p: (root / p).read_bytes() for p in (SETTINGS, MAP)}
    host = boot_context(root, tmp_path / "state")
    enablement.enable(host, BY_IDS, lambda *_: None)
    for path in (SETTINGS, MAP):
        assert b"quiet intel_iommu=on" in (root / path).read_bytes()
    again = enablement.enable(host, BY_IDS, lambda *_: None)
    assert {change.action for change in again} == {Action.KEEP}
    enablement.disable(host)
    assert {p: (root / p).read_bytes() for p in (SETTINGS, MAP)} == before


def test_without_it_the_host_boots_by_nothing_known(
    root: Path, tmp_path: Path
) -> None:
    host = boot_context(root, tmp_path / "state")
    with pytest.raises(errors.Refused, match="no bootloader"):
        enablement.enable(host, BY_IDS, lambda *_: None)
    found = boot_state.read_installation(host.tree)
    assert f"/{SETTINGS}" not in found.files


def test_a_driver_that_does_not_load_is_named_and_costs_no_other(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = tmp_path / "site" / "greedy-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: greedy\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[gpu_passthrough_plugin.bootloader]\ngreedy = greedy_driver:Greedy\n"
    )
    (tmp_path / "site" / "greedy_driver.py").write_text(
        "from gpu_passthrough_plugin.model.installation import Reads\n"
        "READS = Reads(files=('/etc/../root/.ssh/id_rsa',))\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    manager = stevedore.extension.ExtensionManager
    monkeypatch.setattr(manager, "ENTRY_POINT_CACHE", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recording = str(tmp_path / "host.umockdev")
    assert main.main(["--root", str(root), "host", "record", recording]) == 0
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if "greedy" in line)
    assert "'/etc/../root/.ssh/id_rsa'" in line
    # A report keeps it for its reader.
    path = str(tmp_path / "host.tar.zst")
    assert main.main(["--root", str(root), "host", "report", path]) == 0
    assert line in capsys.readouterr().err.splitlines()
    main.main(["host", "verify", "--report", path])
    assert line in capsys.readouterr().err.splitlines()
