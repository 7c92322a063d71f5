"""Which functions are one card: what the kernel ties together.

A slot is not always a card: the graphics of a processor share theirs with
functions that the host lives on, and a card with a switch of its own has
functions in several slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import INTEL, Function
from gpu_passthrough_plugin.model.reading import Unknown

# The processors' own functions (USB, security processor, audio and sensor
# coprocessors) that share a slot with their graphics, which is ATI's 1002.
# Source: pci.ids.
_PROCESSOR = 0x1022
_HD_AUDIO = 0x0403


def in_slots(functions: Iterable[Function]) -> dict[Address, Address]:
    """Return for each function the first function of its card.

    Functions of one slot and one vendor are a card, and so are a display
    and the audio function right behind it, whose vendor may be another.
    Functions of the processor and its chipset share slots of bus 0 without
    anything else in common (such as ISA bridge, audio, SMBus and the
    firmware's flash in 1f).
    Source: Linux, drivers/pci/quirks.c (``quirk_gpu_hda`` and its
    neighbours, which make audio, USB and UCSI wait for their display).

    :param functions: of one host, by address.
    """
    slots: dict[tuple[int, int, int], list[Function]] = {}
    for function in functions:
        slots.setdefault(function.address.slot_address, []).append(function)
    cards: dict[Address, Address] = {}
    for together in slots.values():
        if len(together) == 1:
            (alone,) = together
            cards[alone.address] = alone.address
        else:
            cards.update(_in_slot(together))
    return cards


def _in_slot(
    functions: Sequence[Function],
) -> Iterator[tuple[Address, Address]]:
    firsts: dict[object, Address] = {}
    for function in functions:
        vendor = function.vendor_id
        key: object = vendor
        if vendor == _PROCESSOR or _is_on_board(functions[0], function):
            key = function.address
        elif _is_sound_of(functions[0], function):
            key = functions[0].vendor_id
        yield function.address, firsts.setdefault(key, function.address)


def on_board_slots(
    functions: Iterable[Function],
) -> Iterator[tuple[Function, ...]]:
    """Yield the functions of each slot of Intel's chipset that has several.

    Those of conventional PCI (without the PCI Express capability) cannot
    have ACS, and the kernel trusts none of them without it.  Source: Linux,
    drivers/pci/quirks.c (pci_dev_acs_enabled, pci_quirk_rciep_acs).
    """
    slots: dict[tuple[int, int, int], list[Function]] = {}
    for function in functions:
        slots.setdefault(function.address.slot_address, []).append(function)
    for together in slots.values():
        if len(together) > 1 and all(
            _is_on_board(together[0], f) for f in together
        ):
            yield tuple(together)


def _is_on_board(first: Function, function: Function) -> bool:
    """Return whether it is Intel's on the root bus, and no display's."""
    return (
        function.address.bus == 0
        and function.vendor_id == INTEL
        and not first.is_display
    )


def _is_sound_of(display: Function, function: Function) -> bool:
    code = function.class_code
    return (
        display.is_display
        and display.address.function == 0
        and function.address.function == 1
        and not isinstance(code, Unknown)
        and code >> 8 == _HD_AUDIO
    )


def own_switch(
    function: Function,
    bridges: Sequence[Address],
    functions: Mapping[Address, Function],
) -> Address | None:
    """Return the upstream port of the switch that a card brings along.

    It is its vendor's, such as on Intel's Arc and Flex: the port above the
    function, and the one above that, which is no root port.

    :param bridges: above the function, the nearest last.
    :param functions: every function of the host, by address.
    """
    if len(bridges) < 3:
        return None
    upstream, downstream = (functions.get(port) for port in bridges[-2:])
    if upstream is None or downstream is None:
        return None
    vendor = function.vendor_id
    if isinstance(vendor, Unknown):
        return None
    is_own = vendor == upstream.vendor_id == downstream.vendor_id
    return upstream.address if is_own else None


# Base classes of what belongs to the board: host and ISA bridges, memory
# and system peripherals, signal processing, and the dummy functions of AMD's
# processors.  0680, "other bridge", is not among them: NVSwitches have it.
# Source: PCI Code and ID Assignment 1.11.
_CHIPSET = frozenset({0x05, 0x08, 0x11, 0x13})
_BOARD_BRIDGES = frozenset({0x0600, 0x0601})


def is_chipset(function: Function) -> bool:
    """Return whether it is a function of the board that no guest needs."""
    code = function.class_code
    is_peripheral = not isinstance(code, Unknown) and code >> 16 in _CHIPSET
    return is_peripheral or is_board_bridge(function)


def is_board_bridge(function: Function) -> bool:
    """Return whether it is a host or ISA bridge with an endpoint's header."""
    code = function.class_code
    return not isinstance(code, Unknown) and code >> 8 in _BOARD_BRIDGES
