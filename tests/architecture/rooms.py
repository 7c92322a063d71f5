"""The rooms of the house: what each may import, and which doors it opens."""

from __future__ import annotations

import dataclasses

# The ground floor: each of these may use those before it, and every other
# room may use all of them.
GROUND = ("errors", "model", "formats")

STAGES = frozenset(
    {
        "agent",
        "allocation",
        "compute",
        "diagnosis",
        "discovery",
        "enablement",
        "isolation",
        "nova",
        "picture",
    }
)

# Modules of Python's that reach the world outside the process.  Below
# them count as well: ``urllib.request`` is one, ``urllib.parse`` none.
DOORS = frozenset(
    {
        "_socket",
        "asyncio",
        "builtins.input",
        "builtins.open",
        "ctypes",
        "fcntl",
        "fileinput",
        "glob",
        "http",
        "importlib",
        "io",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "pkgutil",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "syslog",
        "tempfile",
        "urllib.request",
    }
)

# Of ``os`` these only look at text.
PURE_OS = frozenset(
    {
        "os.PathLike",
        "os.fsdecode",
        "os.fsencode",
        "os.fspath",
        "os.path.basename",
        "os.path.commonpath",
        "os.path.dirname",
        "os.path.isabs",
        "os.path.join",
        "os.path.normpath",
        "os.path.relpath",
        "os.path.split",
        "os.path.splitext",
        "os.sep",
    }
)

# Of ``os`` these look at the world and leave it as it is.
READING_OS = PURE_OS | {
    "os.DirEntry",
    "os.O_CLOEXEC",
    "os.O_DIRECTORY",
    "os.O_NOATIME",
    "os.O_NOFOLLOW",
    "os.O_NONBLOCK",
    "os.O_PATH",
    "os.O_RDONLY",
    "os.close",
    "os.fstat",
    "os.listdir",
    "os.lstat",
    "os.open",
    "os.path.abspath",
    "os.path.exists",
    "os.path.isdir",
    "os.path.isfile",
    "os.path.islink",
    "os.path.lexists",
    "os.path.realpath",
    "os.pread",
    "os.read",
    "os.readlink",
    "os.scandir",
    "os.scandir.close",
    "os.stat",
    "os.stat_result",
    "os.strerror",
    "os.uname",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """What the modules of one folder may use.

    :param rooms: other rooms, besides ``errors``, ``model`` and ``formats``.
    :param doors: of DOORS, or names below one of them.
    :param packages: other projects' packages.
    :param stdlib: all of Python's modules there are; None for any that
        is no door.
    """

    rooms: frozenset[str] = frozenset()
    doors: frozenset[str] = PURE_OS
    packages: frozenset[str] = frozenset()
    stdlib: frozenset[str] | None = None


_EVERY = STAGES | {"conf", "defaults", "flow", "host"}

# The longest name that a module's own begins with is its room.
ROOMS = {
    "": Room(doors=frozenset()),
    "errors": Room(doors=frozenset()),
    "defaults": Room(doors=frozenset()),
    "model": Room(
        doors=frozenset(),
        stdlib=frozenset(
            {
                "__future__",
                "abc",
                "bisect",
                "collections",
                "dataclasses",
                "enum",
                "functools",
                "ipaddress",
                "itertools",
                "json",
                "math",
                "operator",
                "posixpath",
                "re",
                "string",
                "types",
                "typing",
                "uuid",
            }
        ),
    ),
    # Readers of texts that somebody else defines: pure, and for everybody.
    "formats": Room(
        packages=frozenset(
            {"lxml", "oslo_config.iniparser", "oslo_config.types"}
        )
    ),
    **{stage: Room() for stage in STAGES},
    "discovery": Room(doors=READING_OS | {"builtins.open"}),
    # Asks the kernel for routes, in the host's network namespace.
    "discovery.route_dump": Room(
        doors=READING_OS | {"_socket", "builtins.open", "ctypes"}
    ),
    "compute": Room(packages=frozenset({"lxml"})),
    "picture": Room(packages=frozenset({"lxml"})),
    # Nova loads these, and wants classes of its own.
    "nova.filters": Room(packages=frozenset({"nova"})),
    "nova.validation": Room(packages=frozenset({"nova"})),
    "nova.weights": Room(packages=frozenset({"nova", "oslo_config"})),
    # Runs within nova-compute, and touches one file.
    "nova.notification": Room(
        doors=frozenset({"os"}), packages=frozenset({"oslo_config"})
    ),
    "enablement.load": Room(
        doors=frozenset({"importlib"}), packages=frozenset({"stevedore"})
    ),
    "allocation.load": Room(
        doors=frozenset({"importlib"}), packages=frozenset({"stevedore"})
    ),
    "allocation.sql": Room(
        doors=frozenset({"os", "pathlib", "sqlite3"}),
        packages=frozenset({"alembic", "oslo_db", "sqlalchemy"}),
    ),
    "allocation.placement": Room(packages=frozenset({"keystoneauth1"})),
    "conf": Room(
        rooms=frozenset({"defaults"}),
        doors=frozenset({"os", "importlib"}),
        packages=frozenset(
            {"keystoneauth1.loading", "oslo_config", "oslo_db.options"}
        ),
    ),
    "host": Room(
        doors=DOORS,
        packages=frozenset(
            {"prometheus_client", "libvirt", "pyudev", "tooz", "zstandard"}
        ),
    ),
    "host.sanitise_driver": Room(
        doors=DOORS, packages=frozenset({"stevedore"})
    ),
    "flow": Room(rooms=_EVERY),
    "cli": Room(
        rooms=_EVERY,
        doors=DOORS,
        packages=frozenset({"cliff", "stevedore"}),
    ),
}

# Where a stage's drivers are.  Nothing outside one of these folders imports
# from it: drivers are found by their entry points.
DRIVERS = (
    "allocation.placement",
    "allocation.sql",
    "enablement.binding",
    "enablement.bootloader",
    "enablement.initramfs",
)

# What other rooms may import of a stage whose drivers others provide.
CONTRACTS = {"allocation": frozenset({"driver", "load"})}

# Rooms that decide and open no door, so that unit and property tests reach
# every line of them; but for what is an edge of its own in ROOMS.
PURE = frozenset(
    {
        "agent",
        "allocation",
        "compute",
        "conf",
        "diagnosis",
        "enablement",
        "formats",
        "isolation",
        "model",
        "nova",
        "picture",
    }
)
NOT_PURE = (
    "allocation.load",
    "allocation.placement",
    "allocation.sql",
    "enablement.load",
    "nova.filters",
    "nova.notification",
    "nova.validation",
    "nova.weights",
)


def is_pure(name: str) -> bool:
    """Return whether a module belongs to the pure rooms.

    :param name: dotted, without the package's own.
    """
    return name.partition(".")[0] in PURE and not any(
        name == edge or name.startswith(f"{edge}.") for edge in NOT_PURE
    )
