from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.nova import extra_specs
from gpu_passthrough_plugin.nova.cover import Locality

KEY = "gpu_passthrough:locality"


def test_what_a_flavor_says() -> None:
    assert extra_specs.locality({KEY: "same-switch"}) is Locality.SAME_SWITCH
    assert extra_specs.locality({KEY: "same-node"}) is Locality.SAME_NODE
    assert extra_specs.locality({"hw:numa_nodes": "1"}) is None
    assert extra_specs.locality(None) is None


@pytest.mark.parametrize("said", ["", "same_node", "SAME-NODE", "node"])
def test_what_it_cannot_say(said: str) -> None:
    with pytest.raises(errors.Invalid, match="same-switch or same-node"):
        extra_specs.locality({KEY: said})
