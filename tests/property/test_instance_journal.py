"""What the journal writes is what it reads."""

from __future__ import annotations

import tempfile

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Binding, Rebind
from gpu_passthrough_plugin.model.instance import (
    Definition,
    Instance,
    Phase,
)

addresses = st.builds(
    Address,
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
)
drivers = st.none() | st.sampled_from(["vfio-pci", "nouveau", "snd_hda_intel"])
bindings = st.builds(Binding, drivers, drivers)
instances = st.builds(
    Instance,
    uuid=st.uuids().map(str),
    # What XML may hold: no surrogates.
    name=st.text(st.characters(exclude_categories=["Cs"])),
    request=st.text(st.characters(exclude_categories=["Cs"])),
    phase=st.sampled_from(Phase),
    keeps_claim=st.booleans(),
    was_started=st.booleans(),
    own=st.lists(addresses).map(tuple),
    rebinds=st.lists(st.builds(Rebind, addresses, bindings, bindings)).map(
        tuple
    ),
    cleaned=st.lists(addresses).map(tuple),
    definition=st.none()
    | st.builds(
        Definition,
        st.lists(addresses).map(tuple),
        st.lists(st.integers(0, 255)).map(tuple),
        st.booleans(),
        st.text("0123456789abcdef"),
    ),
    keeps_definition=st.booleans(),
    is_live=st.booleans(),
    detaching=st.lists(addresses).map(tuple),
)


@given(st.lists(instances, max_size=3, unique_by=lambda i: i.uuid))
def test_round_trip(written: list[Instance]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = InstanceJournal(folder)
        for instance in written:
            journal.write(instance)
            assert journal.read(instance.uuid) == instance
        by_uuid = sorted(written, key=lambda instance: instance.uuid)
        assert list(journal.instances()) == by_uuid
        for instance in written:
            journal.remove(instance.uuid)
        assert journal.instances() == ()
