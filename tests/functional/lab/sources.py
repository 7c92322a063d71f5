"""Where Debian comes from: the same places as the building machine's."""

import subprocess

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SUITES = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
_FIELDS = "$(REPO_URI) $(RELEASE) $(COMPONENT)"


def parse(targets: str) -> tuple[str, ...]:
    """Return one-line sources for ``apt-get indextargets``' output.

    Other vendors' repositories and other components are left out, because
    the lab's image is plain Debian.

    >>> parse("http://m/debian/ bookworm main\\nhttp://n/ stable main")
    ('deb http://m/debian/ bookworm main',)
    """
    rows = (line.split() for line in targets.splitlines())
    return tuple(
        f"deb {uri} {suite} main"
        for uri, suite, component in (row for row in rows if len(row) == 3)
        if suite in _SUITES and component == "main"
    )


def debian() -> tuple[str, ...]:
    """Return this machine's Debian sources, in mmdebstrap's form.

    Apt itself is asked, so that both of its file formats are understood.
    Elsewhere than on Debian 12 the list is empty and mmdebstrap chooses.
    """
    targets = subprocess.run(
        ("apt-get", "indextargets", "--format", _FIELDS,
         "Created-By: Packages"),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return parse(targets.stdout)
