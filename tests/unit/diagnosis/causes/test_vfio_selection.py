from __future__ import annotations

import re

from gpu_passthrough_plugin.diagnosis.causes import vfio_selection
from gpu_passthrough_plugin.enablement.binding import address
from gpu_passthrough_plugin.formats import kernel_log, kernel_messages
from gpu_passthrough_plugin.model.address import parse
from gpu_passthrough_plugin.model.function import VirtualFunction
from tests.unit.diagnosis.build import (
    ALL_IDS,
    HALF_IDS,
    LOST,
    PATH,
    Fields,
    case,
    cause,
    conf,
    confidence,
    enabled,
    found,
    member,
    target,
)
from tests.unit.diagnosis.examples.vfio_selection import ADDED, AUDIO, GPU
from tests.unit.isolation.values import gpu


def test_configuration_that_is_partly_unread() -> None:
    hidden = "/etc/modprobe.d/secret.conf"
    half = found({PATH: HALF_IDS, hidden: ""})
    partly = half._replace(files={**half.files, hidden: LOST})
    lacks = case(AUDIO, GPU, installation=partly)
    assert confidence(vfio_selection.ids_incomplete, lacks) == "possible"
    none = found({hidden: ""})._replace(files={hidden: LOST})
    not_enabled = cause(vfio_selection.not_enabled, case(installation=none))
    assert not_enabled.confidence == "possible"
    assert hidden in not_enabled.evidence


def test_the_whole_list_of_ids_in_the_file_that_has_some() -> None:
    for example, sure in (
        (case(AUDIO, GPU, **conf(HALF_IDS)), "certain"),
        (case(GPU, AUDIO, **conf(HALF_IDS)), "likely"),
    ):
        lacks = cause(vfio_selection.ids_incomplete, example)
        assert lacks.confidence == sure
        assert "10de:0fba (0000:06:00.1)" in lacks.text
        assert ALL_IDS in lacks.fix and PATH in lacks.fix
    taken = cause(
        vfio_selection.ids_incomplete, case(AUDIO, GPU, log=(ADDED,))
    )
    assert taken.evidence == ADDED
    assert ALL_IDS in taken.fix and PATH in taken.fix


def test_what_the_early_script_said() -> None:
    line = "gpu-passthrough: 0000:06:00.0 is left alone: no driver_override"
    other = line.replace("06:00.0", "82:00.0")
    unread = member(gpu(driver="nouveau"), driver_override=LOST)
    done: Fields = {"enablement": enabled()}
    lost = cause(
        vfio_selection.override_lost, case(unread, log=(other, line), **done)
    )
    assert lost.evidence == line
    assert (
        confidence(
            vfio_selection.override_lost, case(unread, log=(other,), **done)
        )
        == ""
    )


def test_the_early_script_comes_before_a_virtual_function() -> None:
    physical = VirtualFunction(parse("05:00.0"))
    late = member(gpu(driver="nouveau"), sriov=physical)
    lost = cause(
        vfio_selection.override_lost, case(late, enablement=enabled())
    )
    assert lost.confidence == "likely"
    assert "virtual function" in lost.text
    assert lost.evidence == "physfn: 0000:05:00.0"
    # Another boot does not help.
    assert "host enable" not in lost.fix
    assert "driverctl set-override 0000:06:00.0 vfio-pci" in lost.fix
    usual = cause(
        vfio_selection.override_lost,
        case(member(gpu(driver="nouveau")), enablement=enabled()),
    )
    assert "host enable" in usual.fix
    same = enabled(boot_id="now")
    assert (
        confidence(vfio_selection.override_lost, case(late, enablement=same))
        == ""
    )


def test_every_failure_that_the_early_script_logs_is_recognised() -> None:
    """Errors are level 3; "not present" and "was unbound" are none."""
    script = address.script([target(gpu())]).replace("\\\n", "")
    errors = re.findall(r'gpupt_say 3 "([^"]*)"', script)
    assert len(errors) > 3
    for text in errors:
        line = f"gpu-passthrough: {text}"
        pattern = kernel_messages.EARLY_SCRIPT_FAILED
        if "$" not in text:
            pattern = kernel_messages.VFIO_NOT_FOUND
        assert kernel_log.first((line,), pattern) == line
