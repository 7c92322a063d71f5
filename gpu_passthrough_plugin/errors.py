"""Every error that this package raises on purpose.

A message is one line that says what was found, what was expected and
what to do.  A subclass exists only where a caller acts differently.  That
a group cannot be handed out is not an error: it is a verdict with reasons.
"""


class Error(Exception):
    """Root of all of them; ends a command with ``exit_status``."""

    exit_status = 2


class Invalid(Error):
    """The call, the configuration or a document is wrong."""


_MAX_SHOWN = 60


def not_valid(name: str, value: object, expected: str) -> Invalid:
    """Return the error of a value that is not what it has to be.

    :param name: what the value is, or where it was found.
    """
    shown = repr(value)
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}…"
    return Invalid(f"{name} {shown} is not valid; expected {expected}")


class Refused(Error):
    """The call is right, and the answer is no; nothing was changed."""

    exit_status = 1


class NoValidHost(Refused):
    """No host has the free units that a request asks for."""


class Conflict(Refused):
    """Another process changed the same rows first; reading again helps."""


class Unavailable(Error):
    """Something this needs (database, libvirt, lock) did not answer."""


class Stuck(Unavailable):
    """The kernel did not come back in time from what it was asked to do."""


class ReadFailed(Error):
    """The host, tree or recording cannot be read as one."""


class Faults(Invalid):
    """Several faults of one document, reported together.

    :param faults: one line each, in the order they were found.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))
