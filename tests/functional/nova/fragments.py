"""Configurations as operators write them, to be judged by Nova's own code.

Each is what stands in a nova.conf, most of it as it is found in guides, in
deployment tools and in Nova's own documentation and tests; the ids are
those of the described host that they are tried on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple


class Fragment(NamedTuple):
    """One configuration.

    :param text: of a nova.conf.
    :param difference: in what ``nova check`` may differ from Nova, and why;
        empty where it has to say the same.
    """

    text: str
    difference: str = ""


# The linter looks at what a host may be asked for, not only at what Nova
# starts with.
NOT_A_TEXT = "no such value was ever meant, and it fails where it is used"
NOT_TRIED = "a regular expression that may take long is not tried"

REPORT = "report_in_placement = true\n"
PLACED = "[filter_scheduler]\npci_in_placement = true\n"


def spec(*entries: object, extra: str = "") -> str:
    lines = (f"device_spec = {json.dumps(entry)}\n" for entry in entries)
    return f"[pci]\n{extra}{''.join(lines)}"


def alias(*entries: object, extra: str = "") -> str:
    """With both vendors' functions listed."""
    listed = spec({"vendor_id": "10de"}, {"vendor_id": "15b3"})
    lines = (f"alias = {json.dumps(entry)}\n" for entry in entries)
    return f"{listed}{''.join(lines)}{extra}"


GPU = {"name": "gpu", "vendor_id": "10de", "product_id": "1e87",
       "device_type": "type-PCI"}  # fmt: skip
VF = {"name": "vf", "vendor_id": "15b3", "product_id": "1018",
      "device_type": "type-VF"}  # fmt: skip
PF = {"name": "pf", "vendor_id": "15b3", "product_id": "1017",
      "device_type": "type-PF"}  # fmt: skip

# Ids, addresses and their spellings.
# Source: nova, doc/source/admin/pci-passthrough.rst, conf/pci.py and
# tests/unit/pci/test_devspec.py; the shapes of OpenStack's charms, of
# kolla-ansible, openstack-helm, puppet-nova and DevStack.
DEVICE_SPECS = (
    Fragment(spec({"vendor_id": "10de", "product_id": "1e87"})),
    Fragment(spec({"vendor_id": "10DE", "product_id": "1E87"})),
    Fragment(spec({"vendor_id": "0x10de", "product_id": "0x1e87"})),
    Fragment(spec({"vendor_id": " 10de ", "product_id": "1e87"})),
    Fragment(spec({"vendor_id": "*", "product_id": "*"})),
    Fragment(spec({"vendor_id": " * "})),
    Fragment(spec({"product_id": " * "})),
    Fragment(spec({"product_id": " 1e87 "})),
    Fragment(spec({"vendor_id": "1_0de"})),
    Fragment(spec({"vendor_id": "+10de"})),
    Fragment(spec({"vendor_id": "-10de"})),
    Fragment(spec({"vendor_id": "10dee"})),
    Fragment(spec({"vendor_id": "de"})),
    Fragment(spec({"vendor_id": "nvidia"})),
    Fragment(spec({"vendor_id": ""})),
    Fragment(spec({"vendor_id": 4318})),
    Fragment(spec({"product_id": 1017})),
    Fragment(spec({"vendor_id": None})),
    Fragment(spec({"product_id": None})),
    Fragment(spec({"vendor_id": ["10de"]})),
    Fragment(spec({})),
    Fragment(spec([{"vendor_id": "10de"}, {"vendor_id": "15b3"}])),
    Fragment(spec([])),
    Fragment(spec([{"vendor_id": "10de"}, 5])),
    Fragment(spec([[{}]])),
    Fragment(spec(None)),
    Fragment(spec("10de:1e87")),
    Fragment("[pci]\ndevice_spec = {\n"),
    Fragment("[pci]\ndevice_spec =\n"),
    Fragment("[pci]\ndevice_spec = {'vendor_id': '10de'}\n"),
    Fragment('[pci]\ndevice_spec = {"vendor_id": "10de",}\n'),
    Fragment('[pci]\ndevice_spec = {"vendor_id": "8086", "vendor_id":'
             ' "10de"}\n'),
    Fragment('[pci]\ndevice_spec = "{"vendor_id": "10de"}"\n'),
    Fragment("[pci]\ndevice_spec = " + "[" * 100_000 + "\n"),
    Fragment('[pci]\ndevice_spec = {"vendor_id":\n   "10de"}\n'),
    Fragment('[pci]\n\n  device_spec = {"vendor_id": "10de"}\n'),
    Fragment('device_spec = {"vendor_id": "10de"}\n'),
    Fragment('[PCI]\ndevice_spec = {"vendor_id": "10de"}\n'),
    Fragment('[pci]\npassthrough_whitelist = {"vendor_id": "10de"}\n'),
    Fragment('[DEFAULT]\npci_passthrough_whitelist = {"vendor_id":'
             ' "10de"}\n'),
    Fragment('[pci]\npassthrough_whitelist = [{"vendor_id": "10de",'
             ' "product_id": "1e87"}]\ndevice_spec = {"vendor_id":'
             ' "15b3"}\n'),
    Fragment(spec({"address": "0000:04:00.0"})),
    Fragment(spec({"address": "0000:04:00.*"})),
    Fragment(spec({"address": "*:04:*.*"})),
    Fragment(spec({"address": "*:04:*"})),
    Fragment(spec({"address": "04:00.0"})),
    Fragment(spec({"address": "4:0.0"})),
    Fragment(spec({"address": ":00.0"})),
    Fragment(spec({"address": ".1"})),
    Fragment(spec({"address": "04:00"})),
    Fragment(spec({"address": "04:00."})),
    Fragment(spec({"address": "0000:0a:00.0"})),
    Fragment(spec({"address": "0000:04:00.0 "})),
    Fragment(spec({"address": " 0000 : 04 : 00 . 0 "})),
    Fragment(spec({"address": "0000:04:00.8"})),
    Fragment(spec({"address": "0000:04:20.0"})),
    Fragment(spec({"address": "0000:100:00.0"})),
    Fragment(spec({"address": "10000:04:00.0"})),
    Fragment(spec({"address": "0000:0*:00.0"})),
    Fragment(spec({"address": "1:2:3:4.5"})),
    Fragment(spec({"address": "0000:04:00.0.1"})),
    Fragment(spec({"address": "0000:04:00,0"})),
    Fragment(spec({"address": ""})),
    Fragment(spec({"address": None})),
    Fragment(spec({"address": 4})),
    Fragment(spec({"address": ["0000:04:00.0"]})),
    Fragment(spec({"address": {}})),
    Fragment(spec({"address": {"domain": ".*", "bus": "04", "slot": "00",
                               "function": "[0-2]"}})),
    Fragment(spec({"address": {"domain": ".*", "bus": "0[45]",
                               "slot": ".*", "function": ".*"}})),
    Fragment(spec({"address": {"bus": "4"}})),
    Fragment(spec({"address": {"bus": "0"}})),
    Fragment(spec({"address": {"func": "1"}})),
    Fragment(spec({"address": {"bus": "["}})),
    Fragment(spec({"address": {"bus": 4}})),
    Fragment(spec({"address": {"bus": None}})),
    Fragment(spec({"address": {"bus": "((.*)*)*" * 3}}), NOT_TRIED),
    Fragment(spec({"address": {"bus": "0" * 65}}), NOT_TRIED),
    # A physical function's address, which means its virtual ones too.
    Fragment(spec({"address": "0000:05:00.0"})),
    Fragment(spec({"address": "*:05:00.0"})),
    Fragment(spec({"address": "5:0.0"})),
    Fragment(spec({"address": "0000:05:00.0", "product_id": "1018"})),
    Fragment(spec({"address": "0000:05:00.0", "product_id": "1017"})),
    Fragment(spec({"address": {"domain": "0000", "bus": "05", "slot": "00",
                               "function": "0"}})),
    Fragment(spec({"vendor_id": "15b3"})),
    # What nothing on this host has.
    Fragment(spec({"devname": "no-such-0"})),
    Fragment(spec({"devname": "no-such-0", "physical_network": "a"})),
    Fragment(spec({"devname": "no-such-0", "address": "0000:04:00.0"})),
    Fragment(spec({"devname": ""})),
    Fragment(spec({"devname": 1}), NOT_A_TEXT),
    Fragment(spec({"devname": "no-such-0"}, extra=REPORT)),
    # Tags.
    Fragment(spec({"vendor_id": "10de", "managed": "no"})),
    Fragment(spec({"vendor_id": "10de", "managed": "false"})),
    Fragment(spec({"vendor_id": "10de", "managed": False})),
    Fragment(spec({"vendor_id": "10de", "managed": 0})),
    Fragment(spec({"vendor_id": "10de", "managed": None})),
    Fragment(spec({"vendor_id": "10de", "managed": "perhaps"})),
    Fragment(spec({"vendor_id": "10de", "managed": ""})),
    Fragment(spec({"vendor_id": "10de", "live_migratable": "yes"})),
    Fragment(spec({"vendor_id": "10de", "live_migratable": "enabled"})),
    Fragment(spec({"vendor_id": "10de", "one_time_use": "no"})),
    Fragment(spec({"vendor_id": "10de", "one_time_use": "yes"})),
    Fragment(spec({"vendor_id": "10de", "one_time_use": "yes"},
                  extra="report_in_placement = false\n")),
    Fragment(spec({"vendor_id": "10de", "one_time_use": "yes"},
                  extra=REPORT)),
    Fragment(spec({"address": "*:05:00.*", "product_id": "1018",
                   "one_time_use": "no"}, extra=REPORT)),
    Fragment(spec({"address": "*:05:00.*", "product_id": "1018",
                   "one_time_use": "no"})),
    Fragment(spec({"vendor_id": "10de", "resource_class": "gpu"})),
    Fragment(spec({"vendor_id": "10de", "traits": "a,HW_GPU_API_VULKAN"},
                  extra=REPORT)),
    Fragment(spec({"vendor_id": "10de", "resource_class": 5}), NOT_A_TEXT),
    Fragment(spec({"vendor_id": "10de", "traits": ["a"]}), NOT_A_TEXT),
    Fragment(spec({"vendor_id": "15b3", "physical_network": "physnet1"})),
    Fragment(spec({"address": "*:05:*", "physical_network": None})),
    Fragment(spec({"vendor_id": "15b3", "physical_network": "a",
                   "trusted": "true"})),
    Fragment(spec({"vendor_id": "10de", "anything": {"a": ["b"]}})),
    Fragment(spec({"vendor_id": "10de", "iommu_group": "0000:04:00.0"})),
    Fragment(spec({"address": "0000:05:00.0", "product_id": "1017",
                   "remote_managed": "true"})),
    # With Placement: one of a physical function and its virtual ones, and
    # these alike.
    Fragment(spec({"vendor_id": "15b3"}, extra=REPORT)),
    Fragment(spec({"product_id": "1017", "physical_network": "a"},
                  {"product_id": "1018"}, extra=REPORT)),
    Fragment(spec({"product_id": "1018", "physical_network": "a"},
                  {"product_id": "1017"}, extra=REPORT)),
    Fragment(spec({"product_id": "1018"}, extra=REPORT)),
    Fragment(spec({"product_id": "1017"}, extra=REPORT)),
    Fragment(spec({"address": "0000:05:00.1", "resource_class": "a"},
                  {"address": "0000:05:00.2", "resource_class": "b"},
                  extra=REPORT)),
    Fragment(spec({"address": "0000:05:00.1", "traits": "a"},
                  {"address": "0000:05:00.2"}, extra=REPORT)),
    Fragment("[pci]\nreport_in_placement = y\n"
             'device_spec = {"vendor_id": "10de"}\n'),
    Fragment(spec({"address": "0000:05:00.1", "live_migratable": "yes"},
                  {"address": "0000:05:00.2", "live_migratable": "no"},
                  extra=REPORT)),
    Fragment(spec({"address": "0000:05:00.1", "live_migratable": "no"},
                  {"address": "0000:05:00.2"}, extra=REPORT)),
    Fragment(spec({"address": "0000:05:00.1", "resource_class": "a"},
                  {"address": "0000:05:00.2", "resource_class": "b"})),
    Fragment(spec({"address": "0000:05:00.1", "resource_class": "a"},
                  {"address": "0000:05:00.2", "resource_class": "b",
                   "physical_network": "c"}, extra=REPORT)),
    Fragment(spec({"address": "*:05:*", "physical_network": None},
                  extra=REPORT)),
    Fragment(spec({"address": "0000:05:00.0", "remote_managed": "yes"})),
    Fragment(spec({"address": "0000:05:00.0", "product_id": "1018",
                   "remote_managed": "true"})),
    Fragment(spec({"address": "0000:05:00.0", "product_id": "1019",
                   "remote_managed": "true"})),
    Fragment(spec({"address": "0000:05:00.0", "vendor_id": "8086",
                   "product_id": "1018", "remote_managed": "true"})),
    Fragment(spec({"address": "*:05:00.0", "remote_managed": "true"})),
    Fragment(spec({"address": "*:05:00.*", "product_id": "1018",
                   "remote_managed": "true"})),
    Fragment(spec({"address": "0000:05:00.0", "product_id": "1017",
                   "remote_managed": "false"})),
    Fragment(spec({"vendor_id": "10de", "anything": ["a"]})),
    Fragment(spec({"vendor_id": "8086", "anything": ["a"]})),
    Fragment(spec({"vendor_id": "10de", "physical_network": ["a"]})),
    Fragment(spec({"vendor_id": "10de", "anything": True, "x": 1.5})),
    Fragment(spec({"vendor_id": "10de", "numa_node": "0"})),
    Fragment(spec({"vendor_id": "10de", "numa_node": "near"})),
    Fragment(spec({"vendor_id": "10de", "numa_node": None})),
    Fragment(spec({"vendor_id": "10de", "count": "5"})),
    Fragment("[pci]\nreport_in_placement = \n"),
    Fragment("[pci]\nreport_in_placement = TRUE\n"),
    Fragment("[pci]\nreport_in_placement = ' on'\n"),
    Fragment("[filter_scheduler]\npci_in_placement = y\n"),
    # The first that matches has it.
    Fragment(spec({"address": "0000:04:00.0"}, {"vendor_id": "10de"})),
    Fragment(spec({"vendor_id": "10de"}, {"address": "0000:04:00.0"})),
)  # fmt: skip

# Source: nova, doc/source/admin/pci-passthrough.rst, pci/request.py and
# tests/unit/pci/test_request.py; the same tools.
ALIASES = (
    Fragment(alias(GPU)),
    Fragment(alias(VF)),
    Fragment(alias(PF)),
    Fragment(alias(GPU, VF, PF)),
    Fragment(alias(GPU | {"vendor_id": "10DE", "product_id": "1E87"})),
    Fragment(alias(GPU | {"device_type": "type-PF"})),
    Fragment(alias(PF | {"device_type": "type-PCI"})),
    Fragment(alias(PF | {"device_type": "type-VF"})),
    Fragment(alias(GPU | {"device_type": "type-VDPA"})),
    Fragment(alias(GPU | {"device_type": "type-pci"})),
    Fragment(alias(GPU | {"device_type": ""})),
    Fragment(alias({"name": "x", "vendor_id": "10de",
                    "product_id": "1e87"})),
    Fragment(alias({"name": "x", "vendor_id": "15b3",
                    "product_id": "1017"})),
    Fragment(alias({"name": "x", "vendor_id": "15b3",
                    "product_id": "1018"})),
    Fragment(alias(GPU | {"product_id": "ffff"})),
    Fragment(alias(GPU | {"vendor_id": "0x10de"})),
    Fragment(alias(GPU | {"vendor_id": "10d"})),
    Fragment(alias(GPU | {"vendor_id": "*"})),
    Fragment(alias(GPU | {"vendor_id": " 10de"})),
    Fragment(alias(GPU | {"vendor_id": 4318})),
    Fragment(alias(GPU | {"vendor_id": None})),
    Fragment(alias({"name": "x", "vendor_id": "10de"})),
    Fragment(alias({"name": "x", "product_id": "1e87"})),
    Fragment(alias({"name": "x"})),
    Fragment(alias({"vendor_id": "10de", "product_id": "1e87"})),
    Fragment(alias({})),
    Fragment(alias(GPU | {"name": ""})),
    Fragment(alias(GPU | {"name": "x" * 256})),
    Fragment(alias(GPU | {"name": "x" * 257})),
    Fragment(alias(GPU | {"name": " gpu "})),
    Fragment(alias(GPU | {"name": 5})),
    Fragment(alias(GPU | {"name": "a:b,c"})),
    Fragment(alias(GPU | {"nam": "x"})),
    Fragment(alias(GPU | {"numa_policy": "required"})),
    Fragment(alias(GPU | {"numa_policy": "preferred"})),
    Fragment(alias(GPU | {"numa_policy": "legacy"})),
    Fragment(alias(GPU | {"numa_policy": "socket"})),
    Fragment(alias(GPU | {"numa_policy": "strict"})),
    Fragment(alias(GPU | {"numa_policy": None})),
    Fragment(alias(GPU | {"capability_type": "pci"})),
    Fragment(alias(GPU | {"capability_type": "net"})),
    Fragment(alias(GPU | {"live_migratable": "yes"})),
    Fragment(alias(GPU | {"live_migratable": "off"})),
    Fragment(alias(GPU | {"live_migratable": "perhaps"})),
    Fragment(alias(GPU | {"live_migratable": True})),
    Fragment(alias(GPU | {"resource_class": "gpu"})),
    Fragment(alias(GPU | {"resource_class": ""})),
    Fragment(alias(GPU | {"resource_class": 5})),
    Fragment(alias(GPU | {"traits": "a, b"})),
    Fragment(alias(GPU | {"traits": ["a"]})),
    Fragment(alias({"name": "x", "resource_class": "gpu",
                    "device_type": "type-PCI"})),
    Fragment(alias({"name": "x", "resource_class": "gpu",
                    "device_type": "type-PCI"},
                   extra="[filter_scheduler]\npci_in_placement = false\n")),
    Fragment(alias({"name": "x", "resource_class": "gpu",
                    "device_type": "type-PCI"}, extra=PLACED)),
    Fragment(alias({"name": "x", "traits": "gpu",
                    "device_type": "type-PCI"}, extra=PLACED)),
    Fragment(alias(GPU, GPU)),
    Fragment(alias(GPU, GPU, extra=PLACED)),
    Fragment(alias(GPU, GPU | {"product_id": "10f8"})),
    Fragment(alias(GPU, GPU | {"product_id": "10f8"}, extra=PLACED)),
    Fragment(alias(GPU, GPU | {"device_type": "type-PF"})),
    Fragment(alias(GPU, GPU | {"numa_policy": "required"})),
    Fragment(alias(GPU | {"numa_policy": "legacy"}, GPU)),
    Fragment(alias(GPU, {"name": "gpu", "vendor_id": "10de",
                         "product_id": "10f8"})),
    Fragment(alias({"name": "gpu", "vendor_id": "10de",
                    "product_id": "1e87"}, GPU)),
    Fragment(alias(GPU, GPU | {"name": " gpu "}, extra=PLACED)),
    Fragment("[pci]\nalias = {\n"),
    Fragment("[pci]\nalias = []\n"),
    Fragment(f"[pci]\nalias = [{json.dumps(GPU)}]\n"),
    Fragment("[pci]\nalias = gpu:1\n"),
    Fragment("[pci]\nalias =\n"),
    Fragment(f"[DEFAULT]\npci_alias = {json.dumps(GPU)}\n"),
    Fragment(f"[pci]\nalias = '{json.dumps(GPU)}'\n"),
    Fragment(f"[pci]\nalias = {json.dumps(GPU)} # the card\n"),
    Fragment(spec({"vendor_id": "10de", "live_migratable": "yes"})
             + f"alias = {json.dumps(GPU | {'live_migratable': 'on'})}\n"),
    Fragment(spec({"vendor_id": "10de", "dev_type": "type-PF"})
             + f"alias = {json.dumps(GPU)}\n"),
    Fragment(spec({"vendor_id": "15b3", "physical_network": "a"})
             + f"alias = {json.dumps(VF)}\n"),
    Fragment(spec({"vendor_id": "10de", "dev_type": "TYPE-PCI"})
             + f"alias = {json.dumps(GPU)}\n"),
    Fragment(spec({"vendor_id": "15b3", "dev_type": "type-PCI"})
             + f"alias = {json.dumps(PF | {'device_type': 'type-PCI'})}\n"),
    Fragment(spec({"vendor_id": "10de", "dev_type": "vdpa"})
             + f"alias = {json.dumps(GPU | {'device_type': 'type-PCI'})}\n"),
    Fragment(spec({"vendor_id": "10de", "dev_type": None})
             + 'alias = {"name": "x", "vendor_id": "10de", "product_id":'
             ' "1e87"}\n'),
    Fragment(spec({"vendor_id": "10de", "dev_type": None})
             + f"alias = {json.dumps(GPU)}\n"),
    Fragment(spec({"vendor_id": "10de", "capability_type": "PCI"})
             + f"alias = {json.dumps(GPU | {'capability_type': 'pci'})}\n"),
    Fragment(spec({"vendor_id": "10de", "live_migratable": "no"})
             + f"alias = {json.dumps(GPU | {'live_migratable': 'no'})}\n"),
    Fragment(alias(GPU | {"live_migratable": "no"})),
)  # fmt: skip


def fragments() -> Iterator[Fragment]:
    yield from DEVICE_SPECS
    yield from ALIASES
