"""From a bare host to a server with a GPU: the guide's ten commands.

The default mode: Nova knows one function of a group, and hands it out;
the others stay on vfio-pci, held for nobody.  Nova's notifications start
what the host has to finish.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.functional.lab import enabling, guest, product
from tests.functional.lab.host import EmulatedHost
from tests.functional.lab.product import CARD
from tests.functional.openstack import emulated
from tests.functional.openstack.cloud import Cloud
from tests.functional.openstack.site import Site, set_up
from tests.functional.test_lab import displays, driver, peers

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = [pytest.mark.lab, pytest.mark.rotating]

_UNITS = Path(__file__).parents[2] / "etc/systemd"
_MARKER = f"{emulated.STATE}/gpu-passthrough.marker"
_NOTIFIED = {
    "oslo_messaging_notifications": {"driver": "gpu_passthrough"},
    "gpu_passthrough": {"marker": _MARKER},
}
# The card that the host itself started with: a guest runs the ROM of a
# display that it has alone, and those of the other two were seen to crash.
_CONFIG = b"""\
[discovery]
select = 0000:01:00.0
[libvirt]
stop_timeout_s = 1
[hook]
wait_s = 300
"""


def test_ten_commands(off_host: EmulatedHost, tmp_path: Path) -> None:
    host = off_host
    host.put(product.CONFIG, _CONFIG)
    enabling.run(host, "host", "enable")
    host.reboot()
    enabling.run(host, "host", "verify")
    enabling.run(host, "db", "sync")
    disk = emulated.partitioned(host.get(guest.FORCED))
    with product.running(host) as ours, Cloud(tmp_path, disk) as cloud:
        ours.cli("inventory", "sync")
        _watch(host)
        site = set_up(cloud, ours, "primary", _NOTIFIED)
        try:
            _a_server_comes_and_goes(site)
        except BaseException:
            print(site.told())
            print(product.reconciling(host))
            raise


def _a_server_comes_and_goes(site: Site) -> None:
    host = site.host
    before = product.reconciled(host)
    server = site.create("one")
    assert "fault" not in server
    (card,) = site.held(server["id"])
    assert card in displays(host)
    whole = peers(host, card)
    assert len(whole) == 2
    assert {driver(host, function) for function in whole} == {"vfio-pci"}
    shown = site.ours.asked("allocation", "show", server["id"])
    assert set(shown["Functions"]) == whole
    found = site.seen("one")
    assert CARD[0] in found
    assert CARD[1] not in found
    before = product.reconciled(host, before + 1)

    (companion,) = whole - {card}
    refused = site.start_by_hand("rest", companion)
    assert refused.returncode != 0
    assert "gpu-passthrough: domain rest" in refused.stderr

    site.delete("one")
    site.freed(card)
    product.reconciled(host, before + 1)
    assert [event for event, _ in _audit(host)] == [
        "instance.create.end",
        "instance.delete.end",
    ]
    assert {of for _, of in _audit(host)} == {server["id"]}


def _watch(host: EmulatedHost) -> None:
    """Return once notifications reach a service of the host."""
    for kind in ("path", "service"):
        name = f"{product.RECONCILE}.{kind}"
        content = (_UNITS / name).read_bytes()
        host.put(f"/etc/systemd/system/{name}", content)
    host.sh("systemctl daemon-reload")
    host.sh(f"systemctl enable --now {product.RECONCILE}.path")


def _audit(host: EmulatedHost) -> list[tuple[str, str]]:
    """What became of which instance, by nova-compute's own log."""
    read = f"journalctl -u {emulated.UNIT} -o cat"
    lines = host.sh(f"{read} | grep gpu_passthrough_plugin.audit || :")
    said = [json.loads(line[line.index("{") :]) for line in lines.splitlines()]
    return [(one["event"], one["instance"]) for one in said]
