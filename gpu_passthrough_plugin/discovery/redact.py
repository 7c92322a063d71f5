"""The lines of a file that discovery uses, for files that hold more."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.discovery import facts, installation
from gpu_passthrough_plugin.formats import modules_alias, mountinfo, routes
from gpu_passthrough_plugin.formats.umockdev import raw
from gpu_passthrough_plugin.model.reading import Unknown, decoded

# In the place of a network's own: 192.0.2.0/24 and 2001:db8::/32.
# Source: RFC 5737, RFC 3849.
_SOME4 = ("000200C0", "00FFFFFF")
_SOME6 = ("20010db8" + "0" * 24, "20")
# What enabling looks for in a generated grub.cfg, which may hold passwords.
_GRUB = frozenset(
    {"blscfg", "configfile", "linux", "linux16", "linuxefi", "search"}
)
# Modules of which it matters that they are built in.
_BUILT_IN = ("vfio", "xhci", "snd", "i2c", "typec")


def trimmed(path: str, data: bytes, modaliases: Iterable[str]) -> bytes:
    """``data`` without what is read over: discovery finds the same in it.

    What cannot be parsed stays as it is.

    :param modaliases: of the functions that modules are wanted for.
    """
    if path.endswith("/modules.alias"):
        return _aliases(data, modaliases)
    if path.endswith("/modules.builtin"):
        return _joined(
            line
            for line in decoded(data).split()
            if installation.module(line).startswith(_BUILT_IN)
        )
    if path.endswith("/modules.dep"):
        return _joined(
            f"{line.partition(':')[0]}:"
            for line in decoded(data).split("\n")
            if "/vfio" in line.partition(":")[0]
        )
    if path.endswith("/grub.cfg"):
        lines = decoded(data).split("\n")
        return _joined(line for line in lines if _GRUB & {*line.split()[:1]})
    if path == facts.CPUINFO:
        line = facts.cpu_line(data)
        return data if line is None else _joined([line])
    if path.endswith("/mountinfo"):
        return _mounts(data)
    if path.endswith("/net/route"):
        return _routes4(data)
    if path.endswith("/net/ipv6_route"):
        return _routes6(data)
    return data


def _aliases(data: bytes, modaliases: Iterable[str]) -> bytes:
    lines = {
        line
        for modalias in set(modaliases)
        for line in modules_alias.matching(data, modalias)
    }
    return _joined(sorted(lines.union(modules_alias.vfio_lines(data))))


def _mounts(data: bytes) -> bytes:
    """Block devices and the root, without their options."""
    kept = []
    for line in decoded(data).split("\n"):
        if not line:
            continue
        source = mountinfo.mounted(line)
        if isinstance(source, Unknown):
            return data
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if source is not None or words[4] == "/":
            head = " ".join(words[:5])
            kind, name = after.split(" ")[:2]
            # A server's name is nobody's business.
            name = "none" if source is None else name
            kept.append(f"{head} rw - {kind} {name} rw")
    return _joined(kept)


def _routes4(data: bytes) -> bytes:
    """Each interface's, without networks' and gateways' addresses."""
    try:
        found = list(routes.routes4(data))
    except (ValueError, IndexError):
        return data
    kept = [decoded(data).split("\n")[0]]
    for route in found:
        words = route.line.split()
        if not route.is_default:
            words[1], words[7] = _SOME4
        kept.append("\t".join([*words[:2], "0" * 8, *words[3:]]))
    return _joined(dict.fromkeys(kept))


def _routes6(data: bytes) -> bytes:
    try:
        found = list(routes.routes6(data))
    except (ValueError, IndexError):
        return data
    kept = []
    for route in found:
        words = route.line.split()
        if not route.is_default:
            words[:2] = _SOME6
        kept.append(" ".join([*words[:4], "0" * 32, *words[5:]]))
    return _joined(dict.fromkeys(kept))


def _joined(lines: Iterable[str]) -> bytes:
    return raw("".join(f"{line}\n" for line in lines))
