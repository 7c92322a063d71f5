"""What the kernel is to be told on its command line."""

from __future__ import annotations

from typing import NamedTuple


class Arguments(NamedTuple):
    """What a command line has to say; what it does not speak of stays.

    :param words: whole words, such as ``intel_iommu=on``.
    :param never: whole words that would take one of them back, such as
        ``intel_iommu=off``; a value counts within a list of values too.
    :param lists: parameters that are lists, such as ``vfio-pci.ids``, and
        the values that each has to have.
    """

    words: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __or__(self, other: Arguments) -> Arguments:
        """Both together, each word once."""
        lists: dict[str, tuple[str, ...]] = {}
        for name, values in (*self.lists, *other.lists):
            lists[name] = tuple(dict.fromkeys((*lists.get(name, ()), *values)))
        return Arguments(
            tuple(dict.fromkeys((*self.words, *other.words))),
            tuple(dict.fromkeys((*self.never, *other.never))),
            tuple(lists.items()),
        )
