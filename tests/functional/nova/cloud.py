# mypy: disable-error-code="import-not-found", allow-subclassing-any
"""One process with all of Nova, and Placement, as they are configured.

libvirt and sysfs are Nova's own imitations; whatever a generated file says
is used as Nova reads it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import fixtures

from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.unit import DeviceType, Unit
from gpu_passthrough_plugin.nova import compute, naming
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.control_plane import DEFAULT_FILTERS
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from nova import objects
from nova.tests.functional.libvirt import test_pci_sriov_servers
from tests.functional.nova import fleet, generated

FULL, PRIMARY = NovaOptions(mode=Mode.FULL), NovaOptions()


class Cloud(test_pci_sriov_servers._PCIServersTestBase):
    """Tests of hosts that ``start`` starts.

    :cvar options: how Nova is configured.
    :cvar enabled: the scheduler's filters that an operator has.
    :cvar overridden: of ``[filter_scheduler]``, against what is generated.
    :cvar tuning: of Placement, the same; without it what it needs.
    """

    options: ClassVar[NovaOptions] = FULL
    enabled: ClassVar[tuple[str, ...]] = DEFAULT_FILTERS
    overridden: ClassVar[Mapping[str, Any]] = {}
    tuning: ClassVar[Mapping[str, Mapping[str, Any]] | None] = None

    PCI_DEVICE_SPEC: ClassVar[list[str]] = []
    PCI_ALIAS: ClassVar[list[str]] = []

    def setUp(self) -> None:
        self.folder = Path(self.useFixture(fixtures.TempDir()).path)
        self.hosts: dict[str, ComputeHost] = {}
        super().setUp()
        self.useFixture(
            fixtures.MockPatch(
                "nova.pci.utils.is_physical_function", self._is_physical
            )
        )

    def _setup_scheduler_service(self) -> Any:
        options = generated.scheduler(self.folder, self.options, self.enabled)
        options = {**options, **self.overridden}
        self.flags(group="filter_scheduler", **options)
        return self.start_service("scheduler")

    def _is_physical(self, *parts: str) -> bool:
        """In the place of a look at this machine's /sys."""
        bus, slot, function = (int(part, 16) for part in parts[1:])
        place = f"pci_0000_{bus:02x}_{slot:02x}_{function}"
        return any(
            getattr(devices.devices.get(place), "dev_type", "") == "PF"
            for devices in map(fleet.devices, self.hosts.values())
        )

    def start(self, *hosts: ComputeHost, **traits: str) -> None:
        """Start each host's nova-compute, all as they are generated for.

        :param traits: what an operator adds to the alias of that name.
        """
        options = generated.aliases(self.folder, hosts, self.options)
        entries = [json.loads(entry) for entry in options["alias"]]
        for entry in entries:
            if entry["name"] in traits:
                entry["traits"] = traits[entry["name"]]
        self.flags(group="pci", alias=[json.dumps(e) for e in entries])
        tuning = self.tuning
        if tuning is None:
            tuning = generated.candidates(self.folder, hosts, self.options)
        for group, options in tuning.items():
            self.placement_fixture.conf_fixture.config(group=group, **options)
        for host in hosts:
            self.hosts[host.name] = host
            options = generated.compute(self.folder, host, self.options)
            self.flags(group="pci", **options)
            self.start_compute(host.name, pci_info=fleet.devices(host))
            self.assert_reported(host)

    def assert_reported(self, host: ComputeHost) -> None:
        """Placement has what is listed, by class, and with its traits."""
        inventories: dict[str, dict[str, int]] = {}
        traits = {}
        for offer in compute.offers(host, self.options):
            for function, spec in zip(
                offer.functions, offer.specs, strict=True
            ):
                # Nova writes a provider's name in capitals.
                place = str(function.address).upper()
                if function.device_type is DeviceType.VF:
                    place = f"{place[:-1]}0"
                name = spec.resource_class or resource_class.of_ids(
                    function.vendor_id, function.product_id
                )
                had = inventories.setdefault(place, {})
                had[name] = had.get(name, 0) + 1
                traits[place] = spec.given_traits
        self.assertTrue(inventories)
        self.assert_placement_pci_view(host.name, inventories, traits)

    def flavor(self, unit: Unit, times: int = 1, **extra_specs: str) -> str:
        """A flavor as generated for the unit, for several of its kind.

        :param extra_specs: others, with two underlines for the colon.
        """
        name = naming.flavor(naming.items(unit, self.options.mode))
        found = generated.flavors(tuple(self.hosts.values()), self.options)
        aliases = ",".join(
            f"{alias}:{int(count) * times}"
            for alias, _, count in (
                item.rpartition(":") for item in found[name].split(",")
            )
        )
        said = {key.replace("__", ":"): v for key, v in extra_specs.items()}
        created: str = self._create_flavor(
            vcpu=generated.SMALL.vcpus,
            memory_mb=generated.SMALL.ram_mib,
            disk=generated.SMALL.disk_gib,
            ephemeral=0,
            extra_spec={"pci_passthrough:alias": aliases, **said},
        )
        return created

    def boot(self, flavor: str) -> Any:
        return self._create_server(flavor_id=flavor, networks=[])

    def refuse(self, flavor: str) -> None:
        """Nova finds no host for it, and says so."""
        server = self._create_server(
            flavor_id=flavor, networks=[], expected_state="ERROR"
        )
        self.assertIn("No valid host", server["fault"]["message"])
        self.assertEqual([], self.functions(server))
        self._delete_server(server)

    def boot_at_once(self, flavor: str, count: int) -> list[Any]:
        """Several in one request."""
        body = self._build_server(flavor_id=flavor, networks=[])
        body.update(min_count=count, max_count=count)
        self.api.post_server({"server": body})
        self.wait_until(lambda: "BUILD" not in self._statuses())
        self.assertEqual(["ACTIVE"] * count, self._statuses())
        return list(self.api.get_servers())

    def _statuses(self) -> list[str]:
        return [server["status"] for server in self.api.get_servers()]

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        """What Nova does after it has answered is done soon."""
        end = time.monotonic() + 60
        while not is_true():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)

    def functions(self, server: Any) -> list[str]:
        """The addresses of what an instance was given, by Nova's database."""
        devices = objects.PciDeviceList.get_by_instance_uuid(
            self.ctxt, server["id"]
        )
        return sorted(device.address for device in devices)

    def units(self, server: Any) -> Sequence[Unit]:
        """The units that it has, in whole; anything else is a failure."""
        host = self.hosts[self.host_of(server)]
        functions = self.functions(server)
        taken = [
            unit
            for unit in host.units
            if any(str(f.address) in functions for f in unit.functions)
        ]
        wanted = [
            str(function.address)
            for unit in taken
            for function in naming.listed_functions(unit, self.options.mode)
        ]
        self.assertEqual(sorted(wanted), functions)
        return taken

    def host_of(self, server: Any) -> str:
        found = self.admin_api.get_server(server["id"])
        name: str = found["OS-EXT-SRV-ATTR:host"]
        return name

    def assert_no_healing(self) -> None:
        """Nova's allocations were right from the start."""
        for name in self.hosts:
            self.assert_no_pci_healing(name)
