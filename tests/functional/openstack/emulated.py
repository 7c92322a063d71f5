"""nova-compute in an emulated host, with the control plane outside."""

from __future__ import annotations

import contextlib
import http.server
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.functional.lab import project
from tests.functional.lab.host import EmulatedHost
from tests.functional.openstack.archive import PACKAGES, WHERE
from tests.functional.openstack.cloud import GATEWAY
from tests.functional.openstack.settings import Options
from tests.functional.servers import loopback

STATE = Path("/var/lib/nova")
CONFIGURATION = "/etc/nova/nova.conf"
UNIT = "nova-compute"

_PROGRAMS = f"/{WHERE}/bin"
# Whether it takes instances, until it does or has ended.
_WAIT = f"""\
until journalctl -u {UNIT} | grep -q 'Join ServiceGroup membership'; do
    systemctl -q is-active {UNIT} || {{
        journalctl -n 80 -u {UNIT} >&2
        exit 1
    }}
    sleep 1
done
"""

OPTIONS: dict[str, Options] = {
    "DEFAULT": {"reserved_host_memory_mb": 0, "reserved_host_disk_mb": 0},
    "libvirt": {
        "virt_type": "qemu",
        "images_type": "raw",
        "cpu_mode": "none",
        "hw_machine_type": "x86_64=q35",
    },
    # Root needs nobody's leave; the host has no sudo.
    "nova_sys_admin": {
        "helper_command": f"{_PROGRAMS}/privsep-helper"
        f" --config-file {CONFIGURATION}"
    },
}
"""What ``nova.conf`` says on such a host besides what all computes say."""


def partitioned(disk: bytes) -> bytes:
    """Return the lab's guest with a partition of all but its boot sector.

    Nova takes no boot sector that has none.  Source: oslo.utils,
    imageutils/format_inspector.py.
    """
    sectors = len(disk) // 512 - 1
    entry = struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), 1, sectors)
    return disk[:446] + entry + disk[446 + len(entry) :]


def install(
    host: EmulatedHost, archived: Path, conf: str, generated: Mapping[str, str]
) -> None:
    """Return once a host has nova-compute and its configuration.

    It fetches the archive itself: ssh would have it encrypt all of it.

    :param conf: the text of ``nova.conf``.
    :param generated: what an operator has beside it.
    """
    with _served(archived.parent) as port:
        url = f"http://{GATEWAY}:{port}/{archived.name}"
        fetch = (
            "import shutil, sys, urllib.request\n"
            f"with urllib.request.urlopen('{url}') as answer:\n"
            "    shutil.copyfileobj(answer, sys.stdout.buffer, 1 << 20)\n"
        )
        host.put("/run/fetch.py", fetch.encode())
        host.sh("python3 /run/fetch.py | tar -C / --no-overwrite-dir -xf -")
    host.put(CONFIGURATION, conf.encode())
    for name, text in generated.items():
        host.put(f"{CONFIGURATION}.d/{name}", text.encode())
    host.sh(f"mkdir -p {STATE}/instances")


def configuration(host: EmulatedHost) -> tuple[str, ...]:
    """Return the files that the host's nova-compute reads."""
    return tuple(host.sh(f"ls {CONFIGURATION} {CONFIGURATION}.d/*").split())


def add_plugin(host: EmulatedHost) -> None:
    """Return once nova-compute's Python has the project, which the host has.

    Only that, as ``pip install --no-deps`` does it.
    """
    host.sh(f"ln -s {project.PACKAGES}/gpu_passthrough_plugin* /{PACKAGES}/")


def start(host: EmulatedHost, timeout_s: float = 400) -> None:
    """Return once the host's nova-compute takes instances."""
    host.sh(
        f"systemd-run --quiet --unit={UNIT} {_PROGRAMS}/nova-compute"
        f" --config-file {CONFIGURATION} --config-dir {CONFIGURATION}.d"
    )
    host.sh(_WAIT, timeout_s=timeout_s)


def told(host: EmulatedHost) -> str:
    """Return what the host's nova-compute said, but for what is usual."""
    read = f"journalctl --no-pager -o cat -u {UNIT} | grep -v ' DEBUG '"
    return host.sh(f"{read} | tail -n 200 || :")


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[int]:
    """Return a context in which a port of loopback gives a folder's files."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=folder)

        def log_message(self, *said: object) -> None:
            pass

    with loopback.http_server(Handler) as port:
        yield port
