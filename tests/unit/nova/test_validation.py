from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.nova import validation
from gpu_passthrough_plugin.nova.exact_cover import Locality

KEY = "gpu_passthrough:locality"


def test_what_a_flavor_says() -> None:
    assert validation.locality({KEY: "same-switch"}) is Locality.SAME_SWITCH
    assert validation.locality({KEY: "same-node"}) is Locality.SAME_NODE
    assert validation.locality({"hw:numa_nodes": "1"}) is None
    assert validation.locality(None) is None


@pytest.mark.parametrize("said", ["", "same_node", "SAME-NODE", "node"])
def test_what_it_cannot_say(said: str) -> None:
    with pytest.raises(errors.Invalid, match="same-switch or same-node"):
        validation.locality({KEY: said})
