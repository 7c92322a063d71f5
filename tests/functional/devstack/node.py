"""A node that DevStack stacks: its files, its services, and the phases."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.trees import installed
from tests.trees.debian import debian12
from tests.trees.host import Host
from tests.trees.seed import seed

HERE = Path(__file__).parent
PLUGIN = Path(__file__).parents[3]
ALL = "n-api,n-sch,n-cond,n-cpu,placement-api,mysql"
CONTROL = "n-api,n-sch,n-cond,placement-api,mysql"
COMPUTE = "n-cpu,placement-client"
FILTERS = "ComputeFilter,NUMATopologyFilter,SameHostFilter"

# As DevStack writes it.  Source: devstack, lib/nova (create_nova_conf)
NOVA_CONF = f"""
[DEFAULT]
state_path = /opt/stack/data/nova
debug = True

[filter_scheduler]
enabled_filters = {FILTERS}

[oslo_messaging_notifications]
driver = messagingv2

[libvirt]
virt_type = kvm
"""
PHASES = ("pre-install", "install", "post-config", "extra", "test-config")
FUNCTIONS = HERE / "functions.sh"
COMMANDS: Mapping[str, str] = {
    "bin/nova-manage": "#!/bin/bash\necho 34.0.0\n",
    # It knows the flavors that were made.
    "bin/openstack": """\
#!/bin/bash
case $2 in
show) grep -q " $3\\$" "$CALLS" ;;
*) echo "openstack $*" >>"$CALLS" ;;
esac
""",
    # Of DevStack's own, which nothing is installed against.
    "requirements/.venv/bin/edit-constraints": "#!/bin/bash\n",
}
_OURS: Mapping[str, str] = {
    "bin/gpu-passthrough": f"""\
#!/bin/bash
exec {shlex.quote(sys.executable)} -m tests.functional.devstack.command "$@"
""",
    "bin/pip": """\
#!/bin/bash
echo "pip $*" >>"$CALLS"
touch "$4/a.whl"
""",
    # The system's own, as sudo finds it.
    "bin/python3": """\
#!/bin/bash
[ "$1 $2" = "-m venv" ] || exit 1
mkdir -p "$4/bin"
printf '#!/bin/bash\\necho "$0 $*" >>"$CALLS"\\n' >"$4/bin/pip"
chmod +x "$4/bin/pip"
cp "$NODE/bin/gpu-passthrough" "$4/bin"
""",
    "bin/systemctl": '#!/bin/bash\necho "systemctl $*" >>"$CALLS"\n',
    "bin/hostname": '#!/bin/bash\nbasename "$NODE"\n',
}
_BEGIN = (
    'source "$FUNCTIONS"',
    "load_plugin_settings",
    # DevStack shows what it does; it may be told to mind what is not set.
    "set -o xtrace -o nounset",
)
# The last is libvirt's, and stays when there is no hook of ours in it.
_FOLDERS = (
    "etc/nova",
    "etc/placement",
    "etc/systemd/system",
    "etc/libvirt/hooks/qemu.d",
)
_LIBRARIES = ("database", "apache", "tls", "nova", "placement")
_PHASE = 'source "$PLUGIN/devstack/plugin.sh"'


def stacking() -> str:
    """A script of all phases that ends at the first error."""
    phases = [f"{_PHASE} stack {phase}" for phase in PHASES]
    # Nova is started before the last two.
    phases.insert(-2, 'cp "$NOVA_CONF" "$NOVA_CPU_CONF"')
    return "\n".join(("set -o errexit", *_BEGIN, *phases))


def ending(mode: str) -> str:
    """A script of ``unstack`` or ``clean``, neither of which minds errors."""
    own = 'rm -f "$NOVA_CPU_CONF"' if mode == "clean" else ""
    return "\n".join((*_BEGIN, f"{_PHASE} {mode}", own))


def environment(folder: str, etc: str, services: str) -> dict[str, str]:
    """What DevStack's scripts know before a plugin is asked.

    :param folder: what is DevStack's.
    :param etc: where services have their configuration.
    """
    return {
        "CALLS": f"{folder}/calls",
        "DATA_DIR": f"{folder}/data",
        "REQUIREMENTS_DIR": f"{folder}/requirements",
        "NOVA_BIN_DIR": f"{folder}/bin",
        "NOVA_CONF_DIR": f"{etc}/nova",
        "NOVA_CONF": f"{etc}/nova/nova.conf",
        "NOVA_CPU_CONF": f"{etc}/nova/nova-cpu.conf",
        "PLACEMENT_CONF_DIR": f"{etc}/placement",
        "BASE_SQL_CONN": "mysql+pymysql://root:pa$s@control",
        "ENABLED_SERVICES": services,
        "DISABLED_SERVICES": "",
    }


class Node:
    """One, below a folder of its own.

    :param services: what ``ENABLED_SERVICES`` has.
    """

    def __init__(self, folder: Path, services: str = ALL) -> None:
        self.folder = folder
        self.services = services
        self.etc = folder / "etc"
        self.nova_conf = self.etc / "nova/nova.conf"
        for part in (*_FOLDERS, "data"):
            (folder / part).mkdir(parents=True)
        (folder / "calls").touch()
        self.write_nova_conf()
        self.show("boots", debian12())
        self.show("host", seed())
        for name, script in {**COMMANDS, **_OURS}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script)
            path.chmod(0o755)

    def show(self, name: str, host: Host) -> None:
        """Be this host from now on: what runs, or how it boots."""
        path = self.folder / f"{name}.umockdev"
        path.write_bytes(installed.recorded(host.tree()))

    def write_nova_conf(self) -> None:
        """Begin as each ``stack.sh`` does."""
        self.nova_conf.write_text(NOVA_CONF)

    def stack(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """How ``stack.sh`` ended."""
        return self.run(stacking(), **settings)

    def end(self, mode: str, **settings: str) -> str:
        """What ``unstack.sh`` or ``clean.sh`` said."""
        done = self.run(ending(mode), **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def update(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """How the script ended that is run when nodes were added."""
        devstack = self.folder / "devstack"
        (devstack / "lib").mkdir(parents=True, exist_ok=True)
        (devstack / "functions").write_text('. "$FUNCTIONS"\n')
        for name in ("openrc", *(f"lib/{name}" for name in _LIBRARIES)):
            (devstack / name).touch()
        script = PLUGIN / "devstack/update_control_plane.sh"
        return self.run(f'{script} "$NODE/devstack"', **settings)

    def calls(self, word: str = "") -> list[str]:
        """What was asked of the system, in order, with ``word`` in it."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if word in line]

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Mode and contents of all that a service or ours might read."""
        return {
            str(path.relative_to(self.folder)): (
                path.stat().st_mode,
                path.read_bytes() if path.is_file() else b"",
            )
            for top in ("etc", "data", "state")
            for path in (self.folder / top).rglob("*")
        }

    def run(
        self, script: str, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """How a script ended that knows what DevStack's do."""
        return subprocess.run(
            ("bash", "-c", script),
            cwd=PLUGIN,
            env={
                **os.environ,
                **environment(str(self.folder), str(self.etc), self.services),
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "FUNCTIONS": str(FUNCTIONS),
                "PLUGIN": str(PLUGIN),
                "NODE": str(self.folder),
                "DEVSTACK_VENV": str(self.folder),
                "GPU_PASSTHROUGH_CONF_DIR": str(self.etc / "gpu-passthrough"),
                "GPU_PASSTHROUGH_STATE": str(self.folder / "state"),
                "GPU_PASSTHROUGH_UNIT_DIR": str(self.etc / "systemd/system"),
                **settings,
            },
            capture_output=True,
            text=True,
        )
