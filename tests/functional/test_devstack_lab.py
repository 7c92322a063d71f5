"""DevStack's phases on the emulated host, which really is enabled."""

from __future__ import annotations

import shlex
import subprocess
import uuid

import pytest

from tests.functional.devstack import node
from tests.functional.lab import enabling, guest
from tests.functional.lab.enabling import OFF, differences, files, words
from tests.functional.lab.host import WITHOUT_IOMMU, Boot, EmulatedHost
from tests.functional.lab.topology import SEED
from tests.functional.test_lab import displays, driver

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

STACK = "/opt/stack"
PLUGIN = f"{STACK}/gpu-passthrough-plugin"
NOVA = "/etc/nova"
NOVA_CONF = f"{NOVA}/nova.conf"
_LONG_S = 600.0
# It is libvirt's own, which is to look for hooks again.
_RESTART = '\nfunction restart_service { systemctl restart "$1"; }\n'


def prepare(host: EmulatedHost) -> None:
    """Bring the plugin, DevStack's part and Nova's configuration."""
    for folder in ("devstack", "etc/systemd"):
        for path in sorted((node.PLUGIN / folder).rglob("*")):
            if path.is_file():
                there = f"{PLUGIN}/{path.relative_to(node.PLUGIN)}"
                host.put(there, path.read_bytes())
    functions = node.FUNCTIONS.read_text() + _RESTART
    host.put(f"{STACK}/functions.sh", functions.encode())
    for name, script in node.COMMANDS.items():
        host.put(f"{STACK}/{name}", script.encode(), 0o755)
    host.put(NOVA_CONF, node.NOVA_CONF.encode())
    host.sh(f"mkdir -p {STACK}/data /etc/placement")


def run(host: EmulatedHost, script: str) -> subprocess.CompletedProcess[str]:
    """How a script of DevStack's ended on the host."""
    known = {
        **node.environment(STACK, "/etc", node.ALL),
        "FUNCTIONS": f"{STACK}/functions.sh",
        "PLUGIN": PLUGIN,
        "DEVSTACK_VENV": "/opt/gpu-passthrough",
        "GPU_PASSTHROUGH_MODE": "full",
    }
    told = "".join(
        f"export {name}={shlex.quote(value)}\n"
        for name, value in known.items()
    )
    path = f"export PATH={STACK}/bin:$PATH\n"
    argv = ("bash", "-c", told + path + script)
    return host.run(argv, check=False, timeout_s=_LONG_S)


def others(host: EmulatedHost) -> dict[str, str]:
    """All files but Nova's own, which DevStack edits in place."""
    found = files(host)
    del found[NOVA_CONF]
    return found


def our_files(host: EmulatedHost) -> str:
    """What is where ours may be besides: names, modes and contents."""
    folders = (
        "/etc/gpu-passthrough /etc/libvirt/hooks /var/lib /opt/stack/data"
    )
    found = "find $folder -name '*gpu-passthrough*'"
    return host.sh(
        f"for folder in {folders}; do [ ! -e $folder ] || {found}"
        " -printf '%p %m %U\\n' -type f -exec sha256sum {} +; done"
        " | sort"
    )


def refused(host: EmulatedHost, card: str) -> str:
    """What libvirt says to a guest with half of a group."""
    xml = guest.domain_xml(
        "half", str(uuid.uuid4()), "/run/half.log", functions=(card,)
    )
    host.put("/run/half.xml", xml.encode())
    done = host.run(("virsh", "create", "/run/half.xml"), check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.rotating
def test_a_node_is_stacked_and_taken_back(
    boot: Boot, project_archive: bytes
) -> None:
    host = boot(SEED, WITHOUT_IOMMU)
    enabling.prepare(host, project_archive, OFF)
    prepare(host)
    host.reboot()
    before, ours, told = others(host), our_files(host), words(host)

    # The first one ends where a reboot is needed, before anything of Nova.
    done = run(host, node.stacking())
    assert done.returncode == 1, done.stderr
    assert "run stack.sh again" in done.stderr
    assert host.sh(f"ls {NOVA}") == "nova.conf\n"

    host.reboot()
    done = run(host, node.stacking())
    assert done.returncode == 0, done.stderr
    cards = displays(host)
    assert {driver(host, card) for card in cards} == {"vfio-pci"}
    assert _written(host) == [
        "alias",
        "compute",
        "notifications",
        "scheduler",
    ]
    specs = host.sh(f"grep -h ^device_spec {NOVA}/nova.conf.d/*")
    assert specs.count("\n") == 2 * len(cards)
    assert "does not go with" not in done.stdout
    assert f"takes {cards[0]} " in refused(host, cards[0])
    agent = host.sh("systemctl is-active gpu-passthrough-agent || :")
    assert agent == "active\n"

    for mode in ("unstack", "clean"):
        done = run(host, node.ending(mode))
        assert done.returncode == 0, done.stderr
    assert our_files(host) == ours
    assert host.get(NOVA_CONF).decode() == node.NOVA_CONF
    assert differences(before, others(host)) == []
    host.reboot()
    assert words(host) == told


def _written(host: EmulatedHost) -> list[str]:
    """Which parts of Nova's configuration are there."""
    names = host.sh(f"ls {NOVA}/nova.conf.d").split()
    return [n.removeprefix("gpu-").removesuffix(".conf") for n in names]
