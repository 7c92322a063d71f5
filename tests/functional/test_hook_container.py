"""libvirt in a container, which has the hook's file and the agent's folder.

The container has a root file system and process numbers of its own: the
system's programs, and nothing of the product.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.model.hook import AGENT_SOCKET
from tests.functional.hooked import (
    AUDIO,
    GPU,
    ME,
    Ended,
    HookedHost,
    xml,
)

WHOLE = xml(GPU, AUDIO)
CONTAINER = """\
set -e
root=$1 hook=$2 agent=$3 more=$4
shift 4
mount -t tmpfs none "$root"
cd "$root"
mkdir -p usr proc sys dev etc/libvirt/hooks/qemu.d tmp root
mkdir -p var/lib/libvirt var/log/libvirt var/cache/libvirt
mkdir -p run/gpu-passthrough run/libvirt
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mount -t overlay none -o "lowerdir=$more:/usr" usr
mount -t proc none proc
mount --rbind /dev dev
mount --rbind /sys sys
for name in passwd group nsswitch.conf ld.so.cache; do
    [ ! -e /etc/$name ] || cp /etc/$name etc/
done
# Those that Debian's libvirt is built with.
echo libvirt-qemu:x:64055:64055::/:/bin/false >>etc/passwd
echo libvirt-qemu:x:64055: >>etc/group
ln -s ../run var/run
touch etc/libvirt/hooks/qemu.d/gpu-passthrough
mount --bind -o ro "$hook" etc/libvirt/hooks/qemu.d/gpu-passthrough
mount --bind "$agent" run/gpu-passthrough
exec chroot . "$@"
"""
PROGRAMS = ("libvirtd", "virsh", "qemu-system-x86_64")
# Where a user's shell does not look.
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
LIBVIRTD = shutil.which("libvirtd", path=PATH)
# One that runs no guest, and asks nobody who may use it.
START = """\
set -e
cat >/etc/libvirt/libvirtd.conf <<EOF
auth_unix_rw = "none"
auth_unix_ro = "none"
EOF
cat >/etc/libvirt/qemu.conf <<EOF
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
stdio_handler = "file"
EOF
cat >/tmp/guest.xml
libvirtd --daemon
export LIBVIRT_DEFAULT_URI=qemu:///system
until virsh list >/dev/null 2>&1; do sleep 0.1; done
virsh create /tmp/guest.xml
"""


class Container:
    """A container with the hook of a host.

    :param host: whose agent may answer.
    """

    def __init__(self, host: HookedHost, root: Path) -> None:
        self._host = host
        self._root = root

    def run(self, *argv: str, text: str) -> Ended:
        folder = self._host.socket.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        libraries = Path(LIBVIRTD or "/usr/sbin/none").parents[1]
        # Below the temporary folder there may be no room for an empty one.
        more = libraries if libraries != Path("/usr") else self._empty()
        namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return subprocess.run(
            (
                *(*namespaces, "sh", "-c", CONTAINER, "sh", str(self._root)),
                *(str(self._host.program), str(folder), str(more), *argv),
            ),
            input=text,
            capture_output=True,
            text=True,
            env={"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C"},
            timeout=60,
            check=False,
        )

    def call(self, text: str, operation: str, step: str = "begin") -> Ended:
        """Call the hook as libvirt does, which is no child of its own."""
        code = '"$@"; exit $?'
        argv = (f"/{script.PATH[1:]}", "guest", operation, step, "-")
        return self.run("/bin/sh", "-c", code, "sh", *argv, text=text)

    def _empty(self) -> Path:
        empty = self._root.with_name("empty")
        empty.mkdir(exist_ok=True)
        return empty


@pytest.fixture
def host(tmp_path: Path) -> HookedHost:
    made = HookedHost(tmp_path)
    made.install(agent=AGENT_SOCKET)
    return made


@pytest.fixture
def container(
    host: HookedHost, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    done = subprocess.run(("unshare", "--mount", "--pid", "--fork", "true"))
    if done.returncode:
        pytest.skip("this user makes no namespaces")
    yield Container(host, tmp_path_factory.mktemp("container"))


def test_the_agent_answers_a_container(
    host: HookedHost, container: Container
) -> None:
    for _ in range(2):
        # The folder stays the same when the agent is started again.
        with host.agent():
            done = container.call(WHOLE, "prepare")
            assert (done.returncode, done.stderr) == (0, "")
            assert host.states()[GPU] == ("active", ME)
            done = container.call(xml(AUDIO), "prepare")
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert "without 0000:06:00.0" in done.stderr
    with host.agent():
        assert container.call(WHOLE, "release", "end").returncode == 0
    assert host.states()[GPU] == ("releasing", ME)


def test_without_the_agent_a_container_starts_no_guest_with_a_card(
    host: HookedHost, container: Container
) -> None:
    done = container.call(WHOLE, "prepare")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert AGENT_SOCKET in done.stderr
    assert container.call(xml(), "prepare").returncode == 0
    assert container.call(WHOLE, "release", "end").returncode == 0
    assert host.states()[GPU] == ("free", None)


def test_libvirtd_in_a_container(
    host: HookedHost, container: Container
) -> None:
    """libvirt fails after the hook passed: this host has no such card."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if missing:
        # Not skipped: a run without them would show nothing about libvirt.
        pytest.fail(f"{', '.join(missing)} are not installed; see bindep.txt")
    os_xml = "  <memory>16384</memory><os><type>hvm</type></os>\n"
    text = xml(GPU, AUDIO, rest=os_xml).replace("type='kvm'", "type='qemu'")
    done = container.run("/bin/sh", "-c", START, text=text)
    assert "Hook script" in done.stderr
    assert AGENT_SOCKET in done.stderr
    assert host.states()[GPU] == ("free", None)
    with host.agent():
        done = container.run("/bin/sh", "-c", START, text=text)
        assert done.returncode == 1
        assert "Hook script" not in done.stderr
    # libvirt tells of the end of what it did not start as well.
    assert host.states()[GPU] == ("releasing", ME)
