# mypy: disable-error-code="import-not-found", allow-subclassing-any
"""Primary mode: one function of a group is listed, with nothing of ours."""

from __future__ import annotations

from gpu_passthrough_plugin.nova import render
from gpu_passthrough_plugin.nova.options import NovaOptions
from tests.functional.nova import fleet
from tests.functional.nova.cloud import PRIMARY, Cloud


class PrimaryMode(Cloud):
    options = PRIMARY

    def test_three_cards_and_no_fourth(self) -> None:
        host = fleet.three_cards("c1")
        self.start(host)
        flavor = self.flavor(host.units[0])
        servers = [self.boot(flavor) for _ in host.units]
        taken = [unit for server in servers for unit in self.units(server)]
        self.assertCountEqual(host.units, taken)
        self.assertEqual(
            [[str(unit.key.address)] for unit in taken],
            [self.functions(server) for server in servers],
        )
        self.refuse(flavor)
        self._delete_server(servers[1])
        (again,) = self.units(self.boot(flavor))
        self.assertEqual(taken[1], again)
        self.refuse(flavor)
        self.assert_no_healing()

    def test_four_cards_each(self) -> None:
        host = fleet.wide("c1")
        self.start(host)
        flavor = self.flavor(host.units[0], times=4)
        taken = [
            *self.units(self.boot(flavor)),
            *self.units(self.boot(flavor)),
        ]
        self.assertCountEqual(host.units, taken)
        self.refuse(flavor)
        self.assert_no_healing()

    def test_two_cards_in_a_group(self) -> None:
        host = fleet.shared_group("c1")
        self.start(host)
        both, single = host.units
        self.assertEqual([both], self.units(self.boot(self.flavor(both))))
        self.refuse(self.flavor(both))
        self.assertEqual([single], self.units(self.boot(self.flavor(single))))
        self.refuse(self.flavor(single))

    def test_a_physical_function_and_virtual_ones(self) -> None:
        host = fleet.sriov("c1")
        self.start(host)
        physical, first, second = host.units
        server = self.boot(self.flavor(physical))
        self.assertEqual([physical], self.units(server))
        self.refuse(self.flavor(physical))
        taken = self.units(self.boot(self.flavor(first, times=2)))
        self.assertCountEqual([first, second], taken)
        self.assert_no_healing()


class HostTrait(Cloud):
    options = NovaOptions(host_trait="CUSTOM_GPU_HOST")

    def test_only_hosts_with_cards_have_it(self) -> None:
        folder = self.folder / "provider_config"
        folder.mkdir()
        self.flags(group="compute", provider_config_location=str(folder))
        self.start_compute("plain")
        (folder / "gpu-provider.yaml").write_text(
            render.provider_file("CUSTOM_GPU_HOST")
        )
        self.start(fleet.three_cards("c1"))
        for name, has_it in (("plain", False), ("c1", True)):
            provider = self._get_provider_uuid_by_name(name)
            traits = self._get_provider_traits(provider)
            self.assertEqual(has_it, "CUSTOM_GPU_HOST" in traits)
        flavor = self._create_flavor(
            extra_spec={"trait:CUSTOM_GPU_HOST": "required"}
        )
        for _ in range(2):
            self.assertEqual("c1", self.host_of(self.boot(flavor)))
