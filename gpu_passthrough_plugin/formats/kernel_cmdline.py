"""The Linux kernel's command line: how it is split, and what it says.

The kernel ignores an argument that it does not know without a message, so
that a misspelt name is found by its likeness to a known one only.

Source: Linux, lib/cmdline.c (next_arg), kernel/params.c (parse_args,
parameq).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

# What the kernel's isspace() takes for a blank; byte 0xa0 arrives here as
# a surrogate, or as the character U+00A0.
BLANKS = " \t\n\v\f\r\xa0\udca0"
# Blanks between double quotes belong to the word; single quotes mean
# nothing.  A quote that is never closed takes the rest of the line.
_WORD = re.compile(rf'(?:[^{BLANKS}"]|"[^"]*(?:"|$))+')
# The kernel stops there; what follows is for the init program.
_END = "--"
# Names before a dot that are no module, so that every argument of that
# name counts.  Source: dracut.cmdline(7), modprobe(8), systemd(1), udev(7).
_NO_MODULES = frozenset({"modprobe", "rd", "systemd", "udev"})
# Arguments near one that is looked for, and no misspelling of it.
# Source: Linux, kernel-parameters.txt; dracut.cmdline(7).
_KNOWN = frozenset({"amd_iommu", "intel_iommu", "iommu", "rd.driver.post"})
_LEAST_LIKENESS = 0.85


class Argument(NamedTuple):
    """One argument of a kernel command line.

    :param name: with ``_`` for ``-``, which are the same to the kernel.
    :param spelling: the name as it is written.
    :param values: the value, split at commas; None without ``=``.
    """

    name: str
    spelling: str
    values: tuple[str, ...] | None

    def includes(self, other: Argument) -> bool:
        """Return whether this has the other's name and all its values."""
        if self.name != other.name or self.values is None:
            return (self.name, self.values) == (other.name, other.values)
        return set(other.values or ("",)) <= set(self.values)

    def with_values(self, values: Iterable[str]) -> str | None:
        """Return the argument with these values; None without any."""
        text = ",".join(values)
        return f"{self.spelling}={text}" if text else None


class Requirements(NamedTuple):
    """What a command line has to say; it may say anything else.

    :param arguments: such as ``intel_iommu=on``; one that lists more
        values will do.
    :param forbidden: arguments that would revoke one of them, such as
        ``intel_iommu=off``; a value counts within a list as well.
    :param lists: names of arguments that are lists, such as
        ``vfio-pci.ids``, and the values that each has to have.
    """

    arguments: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __or__(self, other: Requirements) -> Requirements:
        """Return both together, each argument once."""
        lists: dict[str, tuple[str, ...]] = {}
        for name, values in (*self.lists, *other.lists):
            lists[name] = tuple(dict.fromkeys((*lists.get(name, ()), *values)))
        return Requirements(
            tuple(dict.fromkeys((*self.arguments, *other.arguments))),
            tuple(dict.fromkeys((*self.forbidden, *other.forbidden))),
            tuple(lists.items()),
        )


class Word(NamedTuple):
    """One word of a line, and where the line has it."""

    text: str
    start: int
    end: int


def words_in(text: str) -> tuple[Word, ...]:
    """Return the words of a command line with their places, in order."""
    return tuple(Word(m[0], *m.span()) for m in _WORD.finditer(text))


def split(text: str) -> tuple[str, ...]:
    """Return the words of a command line, quotes included."""
    return tuple(word.text for word in words_in(text))


# Every question about a command line parses the same few dozen words.
@functools.lru_cache(maxsize=4096)
def parse(word: str) -> Argument:
    """Return the argument that a word is to the kernel.

    A quote is dropped where the word or its value begins with it, together
    with the one at the end; any other stays.
    """
    is_quoted = word.startswith('"')
    body = word[1:] if is_quoted else word
    # An equals sign in the first place is of the name.
    equals = body.find("=", 1)
    if equals < 0:
        spelling = body.removesuffix('"') if is_quoted else body
        return Argument(spelling.replace("-", "_"), spelling, None)
    spelling, value = body[:equals], body[equals + 1 :]
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
    elif is_quoted:
        value = value.removesuffix('"')
    values = tuple(value.split(","))
    return Argument(spelling.replace("-", "_"), spelling, values)


def kernel_words(words: Sequence[str]) -> Sequence[str]:
    """Return the words that the kernel reads: those before ``--``."""
    for index, word in enumerate(words):
        if word.strip('"') == _END:
            return words[:index]
    return words


def insertion_index(words: Sequence[str]) -> int:
    """Return the index before which new words have to stand.

    Behind ``--`` they would be init's, and behind a quote that is never
    closed they would belong to its word.
    """
    read = kernel_words(words)
    for index, word in enumerate(read):
        if word.count('"') % 2:
            return index
    return len(read)


def arguments(words: Sequence[str]) -> tuple[Argument, ...]:
    """Return what the kernel reads of these words, in order."""
    return tuple(parse(word) for word in kernel_words(words))


def contains(words: Sequence[str], argument: str) -> bool:
    """Return whether the kernel reads ``argument``, or a list with it.

    Of a module's parameter only the last one counts.
    """
    return includes(arguments(words), argument)


def includes(present: Iterable[Argument], argument: str) -> bool:
    """Return whether ``argument``, or a list with its values, is present."""
    required = parse(argument)
    same_name = [a for a in present if a.name == required.name]
    module, dot, _ = required.name.partition(".")
    if dot and module not in _NO_MODULES:
        same_name = same_name[-1:]
    return any(a.includes(required) for a in same_name)


def includes_list(
    present: Iterable[Argument], name: str, values: Collection[str]
) -> bool:
    """Return whether the last list of that name has all the values."""
    parsed_name = parse(name).name
    lists = [a.values or () for a in present if a.name == parsed_name]
    return bool(lists) and set(values) <= set(lists[-1])


def missing(
    words: Sequence[str], requirements: Requirements
) -> tuple[str, ...]:
    """Return the required words that the kernel does not read here."""
    present = arguments(words)
    return (
        *(a for a in requirements.arguments if not includes(present, a)),
        *(
            f"{name}={','.join(values)}"
            for name, values in requirements.lists
            if values and not includes_list(present, name, values)
        ),
    )


def is_forbidden(argument: Argument, requirements: Requirements) -> bool:
    """Return whether an argument, or a value in its list, is forbidden."""
    return any(argument.includes(f) for f in forbidden(requirements))


def forbidden(requirements: Requirements) -> tuple[Argument, ...]:
    """Return the forbidden arguments, split by value in required lists.

    A list that was required earlier with other values is not a conflict
    for the values that are still required.
    """
    lists = {parse(name).name: values for name, values in requirements.lists}
    result: list[Argument] = []
    for argument in map(parse, requirements.forbidden):
        if argument.name not in lists:
            result.append(argument)
            continue
        result += (
            argument._replace(values=(value,))
            for value in argument.values or ()
            if value not in lists[argument.name]
        )
    return tuple(result)


def is_satisfied(words: Sequence[str], requirements: Requirements) -> bool:
    """Return whether nothing required is missing, and nothing forbidden."""
    return not missing(words, requirements) and not any(
        is_forbidden(argument, requirements) for argument in arguments(words)
    )


def intended_name(name: str, names: Collection[str]) -> str | None:
    """Return which of ``names`` a misspelt ``name`` was meant to be.

    None where it is one of them, is another argument of the kernel's, is
    not near any, or was put out of use on purpose by letters in front of
    the right name, such as ``xintel_iommu``.

    :param name: with ``_`` for ``-``, as ``names`` have it.
    """
    if name in names or name in _KNOWN:
        return None
    lowered = name.lower()
    near = [
        other
        for other in names
        if abs(len(other) - len(name)) <= 2
        and (other == lowered or not lowered.endswith(other))
    ]
    if not near:
        return None
    # Imported late: on most hosts no argument is that near.
    import difflib

    matches = difflib.get_close_matches(lowered, near, 1, _LEAST_LIKENESS)
    return matches[0] if matches else None
