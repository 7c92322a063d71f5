"""modprobe's configuration: files in modprobe.d, and the command line.

Source: kmod, libkmod/libkmod-config.c, modprobe.d(5), and what
``modprobe --showconfig -C`` of kmod 30 prints, which the tests compare.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import kernel_cmdline
from gpu_passthrough_plugin.model.installation import (
    Folder,
    Installation,
    Reads,
)
from gpu_passthrough_plugin.model.reading import Unknown, as_text

FOLDERS = (
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
)
"""In order of precedence: a file hides files of its name in later ones."""
MISSPELT_FOLDERS = ("/etc/modeprobe.d", "/etc/modprobe.conf.d")
"""Folders that people take for the first one; nothing reads them."""
SUFFIX = ".conf"
READS = Reads(folders=tuple(Folder(f, (SUFFIX,)) for f in FOLDERS))
READS |= Reads(folders=tuple(Folder(f, ()) for f in MISSPELT_FOLDERS))

# How many words each command has at least, itself included.
_COMMANDS = {
    "alias": 3,
    "blacklist": 2,
    "config": 1,
    "include": 1,
    "install": 3,
    "options": 3,
    "remove": 3,
    "softdep": 3,
    "weakdep": 3,
}
# Source: kernel-parameters.txt; kernel, kernel/module/main.c (blacklisted);
# kmod, libkmod/libkmod-config.c (kmod_config_parse_kcmdline);
# dracut.cmdline(7).
_KERNEL_BLACKLIST = "module_blacklist"
_BLACKLISTS = frozenset({"modprobe.blacklist", "rd.driver.blacklist"})
_NO_COMMANDS = frozenset(
    {"/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true"}
)
_SHELL_OPERATORS = frozenset("&();<>`|$")
# Source: kernel, lib/kstrtox.c (kstrtobool), kernel/params.c
# (param_set_bool): a name alone is true.
_TRUE = frozenset({"1", "y", "Y", "t", "T"})
_ON = frozenset({"on", "On", "oN", "ON"})

# Source: Linux, include/linux/module.h (MODULE_NAME_LEN is 56).
_MODULE_NAME = re.compile(r"[A-Za-z0-9_-]{1,55}")
# Source: Linux, drivers/vfio/Makefile, Kconfig and pci/Makefile.
_VFIO_MODULES = frozenset(
    {
        "iommufd",
        "irqbypass",
        "vfio",
        "vfio_iommu_spapr_tce",
        "vfio_iommu_type1",
        "vfio_pci",
        "vfio_pci_core",
        "vfio_virqfd",
    }
)

# What separates words; a carriage return does not.
_BLANK = re.compile(r"[\t ]+")
_COMMENT = "#"


class Directive(NamedTuple):
    """One logical line of a file in modprobe.d.

    :param line: number of its last physical line, as modprobe reports it.
    :param text: the line as it is written, with single blanks.
    :param command: the first word.
    :param module: the second word with ``_`` for ``-``, as modprobe has
        it; empty where there is none.
    :param rest: the text behind that, blanks at its ends removed.
    """

    path: str
    line: int
    text: str
    command: str
    module: str
    rest: str

    @property
    def is_remark(self) -> bool:
        """Return whether it was meant as a comment; these are not indented."""
        return self.command.startswith(_COMMENT)

    @property
    def is_valid(self) -> bool:
        """Return whether modprobe accepts it; it ignores any other."""
        count = 1 + bool(self.module) + bool(self.rest)
        return count >= _COMMANDS.get(self.command, len(_COMMANDS))

    @property
    def prevents_loading(self) -> bool:
        """Whether it runs nothing but a command without any effect."""
        name, *_ = self.rest.split(maxsplit=1) or ("",)
        is_alone = not _SHELL_OPERATORS.intersection(self.rest)
        return self.command == "install" and is_alone and name in _NO_COMMANDS

    @property
    def replaces_loading(self) -> bool:
        """Whether it runs a command that may do anything.

        modprobe gives it to a shell in place of loading the module.
        """
        is_install = self.command == "install" and self.is_valid
        return is_install and not self.prevents_loading

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


class Option(NamedTuple):
    """One parameter that a module is loaded with.

    :param value: None where it is a name alone.
    :param source: the line or argument that says so, with its place.
    :param path: of the file; empty for the kernel's command line.
    """

    name: str
    value: str | None
    source: str
    path: str = ""

    @property
    def is_true(self) -> bool:
        """Return whether the kernel reads the value as true, for a boolean."""
        value = self.value
        return value is None or value[:1] in _TRUE or value[:2] in _ON


class Block(NamedTuple):
    """One line or argument that keeps a module from being loaded.

    :param source: the line or argument, with its place.
    :param is_absolute: whether it also stops a load by the module's own
        name; a blacklist of modprobe's only stops the automatic one.
    """

    source: str
    is_absolute: bool


def directives(path: str, text: str) -> Iterator[Directive]:
    """Yield the logical lines of one file, comments left out, in order.

    A backslash joins the next line with nothing between, also behind a
    comment; before any other character it is dropped.
    """
    for number, line in _logical_lines(text):
        words = [word for word in _BLANK.split(line) if word]
        if not words or line.startswith(_COMMENT):
            continue
        parts = _BLANK.split(line.strip("\t "), maxsplit=2)
        command, module, rest = (*parts, "", "")[:3]
        if command != "alias":
            module = normalise(module)
        yield Directive(path, number, " ".join(words), command, module, rest)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    if "\\" not in text:
        yield from enumerate(text.removesuffix("\n").split("\n"), 1)
        return
    number = 1
    parts: list[str] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            character = next(characters, "")
            if character == "\n":
                number += 1
                continue
        elif character == "\n":
            yield number, "".join(parts)
            number += 1
            parts.clear()
            continue
        parts.append(character)
    if parts:
        yield number, "".join(parts)


def normalise(module: str) -> str:
    """Return a module's name with ``_`` for ``-``, but between brackets."""
    # Behind the last bracket nothing is searched for: that took the square
    # of the length of a text of opening brackets.
    closed, bracket, rest = module.rpartition("]")
    parts = re.split(r"(\[[^\]]*\])", closed + bracket)
    return "".join(
        part if part.startswith("[") else part.replace("-", "_")
        for part in parts
    ) + rest.replace("-", "_")


def blacklist_fault(name: str) -> str | None:
    """Return what was expected instead of a module to be blacklisted.

    None for a module's name that may be.
    """
    if not _MODULE_NAME.fullmatch(name):
        return (
            "expected a kernel module's name of 1 to 55 letters, digits, -"
            " and _, such as nouveau"
        )
    if normalise(name) in _VFIO_MODULES:
        return (
            "expected a module that VFIO does not need: without this one no"
            " function can be passed through"
        )
    return None


def read_order(paths: Iterable[str]) -> tuple[str, ...]:
    """Return which of ``paths`` modprobe reads, in the order of reading.

    Files are read by name, whichever folder they are in; the folder only
    decides which of two files of one name is read.
    """
    ranks = {folder: rank for rank, folder in enumerate(FOLDERS)}
    by_name: dict[str, str] = {}
    candidates = [
        path
        for path in paths
        if posixpath.dirname(path) in ranks
        and path.endswith(SUFFIX)
        and not posixpath.basename(path).startswith(".")
    ]
    for path in sorted(
        candidates, key=lambda path: ranks[posixpath.dirname(path)]
    ):
        by_name.setdefault(posixpath.basename(path), path)
    return tuple(by_name[name] for name in sorted(by_name, key=_bytes))


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


# Paths and contents, in the order in which modprobe reads them.
_Files = tuple[tuple[str, bytes], ...]


def configuration(installation: Installation) -> tuple[Directive, ...]:
    """Return what modprobe reads on a host, in its order."""
    return _configuration(_files(installation))


def _files(installation: Installation) -> _Files:
    contents = (
        (path, installation.files[path])
        for path in read_order(installation.files)
    )
    return tuple(
        (path, content)
        for path, content in contents
        if not isinstance(content, Unknown)
    )


# Each cause of a diagnosis asks again for each function.
@functools.lru_cache(maxsize=8)
def _configuration(files: _Files) -> tuple[Directive, ...]:
    return tuple(
        directive
        for path, content in files
        for directive in directives(path, as_text(content))
    )


@functools.lru_cache(maxsize=16)
def _options(files: _Files, module: str) -> tuple[Option, ...]:
    return tuple(options(_configuration(files), module))


def configured_options(
    installation: Installation, module: str
) -> tuple[Option, ...]:
    """Return the parameters that a host's files give a module, in order.

    :param module: its name with ``_`` for ``-``.
    """
    return _options(_files(installation), module)


def unread(installation: Installation) -> tuple[str, ...]:
    """Return paths of configuration that is there and could not be read."""
    return tuple(
        path
        for path in read_order(installation.files)
        if isinstance(installation.files[path], Unknown)
    )


def options(configured: Iterable[Directive], module: str) -> Iterator[Option]:
    """Yield the parameters that files give a module, in their order.

    The kernel splits them as it splits its command line.

    :param module: its name with ``_`` for ``-``.
    """
    for directive in configured:
        if directive.command == "options" and directive.module == module:
            # Once: a line may have thousands of options.
            source = str(directive)
            for word in kernel_cmdline.split(directive.rest):
                argument = kernel_cmdline.parse(word)
                yield Option(
                    argument.name,
                    _value(argument),
                    source,
                    directive.path,
                )


def cmdline_options(words: Sequence[str], module: str) -> Iterator[Option]:
    """Yield the parameters that the command line gives a module, in order.

    Both the kernel, for a module that is built in, and modprobe read them;
    modprobe reads those behind ``--`` as well.
    """
    for word in words:
        argument = kernel_cmdline.parse(word)
        name, dot, parameter = argument.name.partition(".")
        if dot and name == module and word.count('"') % 2 == 0:
            yield Option(parameter, _value(argument), f"/proc/cmdline: {word}")


def _value(argument: kernel_cmdline.Argument) -> str | None:
    return None if argument.values is None else ",".join(argument.values)


def last_values(given: Iterable[Option]) -> Mapping[str, Option]:
    """Return by name the option that the kernel uses: the last one."""
    return {option.name: option for option in given}


def parameters(
    installation: Installation, words: Sequence[str], module: str
) -> Mapping[str, Option]:
    """Return by name the parameters that a module is loaded with.

    :param words: of the kernel's command line, which modprobe reads last.
    :param module: its name with ``_`` for ``-``.
    """
    return last_values(
        (
            *configured_options(installation, module),
            *cmdline_options(words, module),
        )
    )


def blocks(
    installation: Installation, words: Sequence[str], module: str
) -> Iterator[Block]:
    """Yield what keeps a module from being loaded, command line first.

    :param words: of the kernel's command line.
    :param module: its name with ``_`` for ``-``.
    """
    for word in words:
        argument = kernel_cmdline.parse(word)
        is_kernels = argument.name == _KERNEL_BLACKLIST
        if not is_kernels and argument.name not in _BLACKLISTS:
            continue
        if module in map(normalise, argument.values or ()):
            yield Block(f"/proc/cmdline: {word}", is_kernels)
    for directive in configuration(installation):
        if directive.module != module:
            continue
        if directive.command == "blacklist":
            yield Block(str(directive), is_absolute=False)
        elif directive.prevents_loading:
            yield Block(str(directive), is_absolute=True)
