from __future__ import annotations

import json

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import (
    nova_alias,
    nova_device_spec,
    oslo_config_file,
)
from gpu_passthrough_plugin.formats.oslo_config_file import Value
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.nova.lint import configuration
from gpu_passthrough_plugin.nova.lint.configuration import Options
from tests.trees import hosts
from tests.unit.nova.lint.build import findings


def read(*texts: str) -> Options:
    names = ("a.conf", "b.conf")
    return configuration.read(
        [(n, t.encode()) for n, t in zip(names, texts, strict=False)]
    )


def test_values_stand_in_the_order_in_which_nova_has_them() -> None:
    """As oslo.config 10 gives them: older names first, file by file."""
    first = (
        "[PCI]\ndevice_spec = a1\npassthrough_whitelist= w1\n"
        "device_spec : a2\n  x\n[DEFAULT]\npci_passthrough_whitelist = d1\n"
        "[pci]\npassthrough-whitelist=w2\nDevice_Spec = up\n"
    )
    second = "[pci]\r\ndevice_spec = b1\r\npassthrough_whitelist = 'wb'\r\n"
    assert [(v.place, v.text) for v in read(first, second).device_spec] == [
        ("a.conf:7", "d1"),
        ("a.conf:3", "w1"),
        ("a.conf:2", "a1"),
        ("a.conf:4", "a2\nx"),
        ("b.conf:3", "wb"),
        ("b.conf:2", "b1"),
    ]


def test_a_value_of_several_lines_has_the_place_of_its_first() -> None:
    text = '# c\n[pci]\nalias = {"name":\n    "gpu"}\n; c\n\nalias=x\n'
    assert read(text).alias == (
        Value("alias", "a.conf:3", '{"name":\n"gpu"}'),
        Value("alias", "a.conf:7", "x"),
    )


def test_the_last_of_a_switch_counts() -> None:
    first = "[pci]\nreport_in_placement = off\nreport_in_placement=On\n"
    second = "[filter_scheduler]\npci_in_placement = 0\nenabled_filters=A, B,"
    found = read(first, second)
    assert (found.report_in_placement, found.pci_in_placement) == (True, False)
    assert found.filters == ("A", "B")
    assert read("[pci]\nenabled_filters = A\n") == Options()


def test_every_line_that_is_none_is_reported() -> None:
    text = "[pci\nfoo\n= x\n[pci]\nalias = $host\nother = $host\n"
    with pytest.raises(errors.Faults) as caught:
        read(text, "  a = b\n")
    assert [f.split(" ")[0] for f in caught.value.faults] == [
        "a.conf:1:", "a.conf:2:", "a.conf:3:", "a.conf:5:",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"[pci]\nalias = \xff\n",
        b"[pci]\n" + b"x" * oslo_config_file.MOST_BYTES,
        b"\x00" * 100,
        b"[" * 10_000,
        "[pci]\nalias = \ud800".encode("utf-8", "surrogatepass"),
    ],
    ids=["latin", "huge", "zeros", "brackets", "surrogate"],
)
def test_what_is_no_configuration_is_refused_in_a_line(data: bytes) -> None:
    with pytest.raises(errors.Faults) as caught:
        configuration.read([("a.conf", data)])
    (fault,) = caught.value.faults
    assert fault.startswith("a.conf:")
    assert "\n" not in fault
    assert len(fault) < 200


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 10_000,
        "null",
        "[[{}]]",
        json.dumps({"address": {"bus": "(" * 30}}),
        json.dumps({"address": {"bus": 6}}),
        json.dumps({"address": ["0000:06:00.0"]}),
        json.dumps({"address": "0000:06:00.0", "devname": "eno1"}),
        json.dumps({"address": "1:2:3:4.5"}),
        json.dumps({"address": "10000:06:00.0"}),
        json.dumps({"address": "0000:06:00.8"}),
        json.dumps({"address": "0000:06:20.0"}),
        json.dumps({"vendor_id": None}),
        json.dumps({"product_id": "10de0"}),
        json.dumps({"product_id": " * "}),
        json.dumps({"devname": 1}),
        json.dumps({"managed": "perhaps"}),
        json.dumps({"traits": ["A"]}),
        json.dumps({"vendor_id": "z" * 10_000}),
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_value_is_one_finding(text: str) -> None:
    fault = only(text)
    assert "Nova does not start with it" in fault.remedy


@pytest.mark.parametrize(
    "text", ["(" * 60 + ")" * 60, "((.*)*)*" * 3, ".{1,9999}", "0" * 65]
)
def test_what_takes_too_long_to_try_is_said_to_be_unread(text: str) -> None:
    """Nova may start with it; what it matches there nobody knows."""
    fault = only(json.dumps({"address": {"bus": text}}))
    assert "too intricate" in fault.detail
    assert "was not looked at" in fault.remedy


def only(text: str) -> Finding:
    """The one fault of a file with this device_spec, in a short line."""
    found = findings(hosts.server(), f"[pci]\ndevice_spec = {text}\n")
    (fault,) = (f for f in found if f.status is not Status.PASS)
    assert (fault.check, fault.status) == ("values", Status.FAIL)
    assert fault.where == "nova.conf:2"
    assert "\n" not in fault.detail
    assert len(fault.detail) < 300
    return fault


def test_more_entries_than_a_host_has_devices_are_refused() -> None:
    many = [Value("alias", "a:1", "[" + "{}," * 1000 + "{}]")]
    with pytest.raises(errors.Invalid, match="more than 1000"):
        nova_device_spec.parse(many)
    with pytest.raises(errors.Invalid, match="more than 1000"):
        nova_alias.parse(many * 1001)
