"""The shell script that libvirt runs as its hook.

A guest without PCI functions is let through without Python, which the
script runs only if the domain's XML may have such a function.  The agent is
asked first, by a small program of the system's own Python.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shlex

from gpu_passthrough_plugin.formats.domain_xml import MAX_BYTES
from gpu_passthrough_plugin.formats.host_devices import QEMU_NAMESPACE
from gpu_passthrough_plugin.model.hook import AGENT_SOCKET, BEGUN, CALLER

FOLDER = "/etc/libvirt/hooks/qemu.d"
"""Source: libvirt, hooks.html (since 6.5.0 every program in it)."""
PATH = f"{FOLDER}/gpu-passthrough"
MODE = 0o755
MODULE = "gpu_passthrough_plugin.cli.libvirt_hook"
"""What the script runs, with options, ``--`` and its own arguments."""

_SHELL = "#!/bin/sh"
_MARK = "# Made by 'gpu-passthrough hook install'; 'hook remove' removes it."
_DIGEST = "# sha256 of what follows: "

# Any POSIX shell runs it: tested with dash, bash and busybox.  libvirt writes
# the domain's XML to its standard input, and reports its standard error as
# the reason of a failure.
_TEXT = """\
# libvirt runs this at each step of a guest's life, and waits for it.
PYTHON={python}
ENTRY={entry}
AGENT={agent}

case $2/$3 in
prepare/begin | release/end | reconnect/begin) ;;
*) exit 0 ;;
esac
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin
{caller}=$PPID
export LC_ALL PATH {caller}

# A shell's variable has no zeros and no line ends at its end: the former
# become a character that no XML has, and the latter are kept by the x.
zero=$(printf '\\001')
xml=$(tr '\\000' '\\001' && printf x) || xml=
xml=${{xml%x}}

# Whether a document has no word of a PCI function, nor of what may hide one:
# QEMU's own arguments, the source of an unknown device, references,
# declarations, other encodings.
passes() {{
    case $1 in
    *hostdev* | *"'nvme'"* | *'"nvme"'* | *vfio* | *{qemu}* | \\
        *'<source>'* | *'&#'* | *'<!'* | *'<?'* | *"$zero"*) false ;;
    '<domain>'* | '<domain '*) [ "${{#1}}" -le {most} ] ;;
    *) false ;;
    esac
}}

if passes "$xml"; then
    exit 0
fi

# The agent has everything loaded, and answers at once.  Where it does not,
# or is not there, the same is done here.
client={client}
if [ -S "$AGENT" ] && command -v python3 >/dev/null; then
    {{ read -r begun _ </proc/uptime; }} 2>/dev/null || begun=
    python3 -I -S -c "$client" "$AGENT" "${caller}"{options} -- "$@" \\
        3>&2 2>/dev/null <<XML
$xml
XML
    case $? in
    {passed}) exit 0 ;;
    {refused}) exit 1 ;;
    esac
    {begun}=$begun
    export {begun}
fi

complain() {{
    if [ "$operation" = prepare ]; then
        printf '%s\\n' "gpu-passthrough: domain $1: $2" >&2
    elif command -v logger >/dev/null; then
        logger -t gpu-passthrough -p daemon.warning "domain $1: $2"
    fi
}}

# What others than root, or who runs this, can change of what is run: the
# interpreter, the package, or a folder above.  What is in a sticky folder
# others cannot rename.
open_to_others() {{
    user=$(id -u)
    package=$(readlink -f "${{ENTRY%/*/*}}")
    set --
    for path in "$PYTHON" "$(readlink -f "$PYTHON")" "$ENTRY" "$package"; do
        while [ -n "$path" ]; do
            set -- "$@" "$path"
            path=${{path%/*}}
        done
    done
    # Of a name, at most a part is printed.
    # shellcheck disable=SC2012
    ls -ldn -- / "$@" | while read -r mode _ owner group rest; do
        path=/${{rest#* /}}
        if [ "$owner" != 0 ] && [ "$owner" != "$user" ]; then
            echo "$path belongs to user $owner"
        else
            case $mode/$group in
            l* | d????????[tT]*) ;;
            ????????w* | ?????w*/*[!0]*)
                echo "others can write to $path ($mode)" ;;
            esac
        fi
    done
    # A file that is being compiled may be gone before it is looked at.
    find "$package" ! -type l \\( -perm -0002 -o -perm -0020 ! -group 0 -o \\
        ! -user 0 ! -user "$user" \\) \\
        -exec echo "others can change {{}}" \\; 2>/dev/null
}}

operation=$2
fault=
if ! [ -x "$PYTHON" ] || ! [ -e "$ENTRY" ]; then
    fault="gpu-passthrough-agent does not answer at $AGENT, and $PYTHON or \\
$ENTRY is not here; start the agent, or install the product again and run"
else
    fault=$(open_to_others 2>&1 | sed 1q)
    fault=${{fault:+$fault; install the product for root alone and run}}
fi
if [ "$fault" ]; then
    # Without host devices of other kinds, written as libvirt writes them.
    kinds='usb|scsi|scsi_host|mdev'
    start="^ *<hostdev mode='subsystem' type='($kinds)'[^<>/]*>"
    lines="/$start\\$/,/^ *<\\/hostdev>\\$/"
    rest=$(printf '%s\\n' "$xml" | sed -E "$lines{{/type='pci'/!d;}}")
    case $rest in
    *'</domain>') if passes "$rest"; then exit 0; fi ;;
    esac
    complain "$1" "its PCI functions cannot be checked, because $fault \\
'gpu-passthrough hook install', or remove $0"
    # Only a start is refused: libvirt kills a running guest otherwise.
    [ "$operation" != prepare ]
    exit
fi
if [ "$operation" = prepare ]; then
    exec "$PYTHON" -I -m {module}{options} -- "$@" <<XML
$xml
XML
fi
"$PYTHON" -I -m {module}{options} -- "$@" <<XML ||
$xml
XML
    complain "$1" "the hook failed at $operation with status $?"
exit 0
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """What the script runs.

    :param python: the interpreter, by its absolute path.
    :param entry: the file of ``MODULE``.
    :param options: of the command.
    :param client: the text of the program that asks the agent.
    :param answered: its exit statuses when the guest passed, or was refused.
    :param agent: the agent's socket.
    """

    python: str
    entry: str
    options: tuple[str, ...]
    client: str = ""
    answered: tuple[int, int] = (70, 71)
    agent: str = AGENT_SOCKET


def script(program: Program) -> bytes:
    """Return the script's text."""
    body = _TEXT.format(
        python=shlex.quote(program.python),
        entry=shlex.quote(program.entry),
        options="".join(f" {shlex.quote(word)}" for word in program.options),
        module=MODULE,
        caller=CALLER,
        begun=BEGUN,
        agent=shlex.quote(program.agent),
        client=shlex.quote(program.client),
        passed=program.answered[0],
        refused=program.answered[1],
        most=MAX_BYTES,
        qemu=QEMU_NAMESPACE.partition("//")[2],
    ).encode()
    digest = hashlib.sha256(body).hexdigest()
    head = f"{_SHELL}\n{_MARK}\n{_DIGEST}{digest}\n"
    return head.encode() + body


def program_in(text: bytes) -> tuple[str, str]:
    """Return the interpreter and the entry of an installed script."""
    lines = text.decode(errors="surrogateescape").splitlines()
    words = [word for line in lines[4:6] for word in shlex.split(line)]
    python, entry = (word.partition("=")[2] for word in words)
    return python, entry


def is_ours(text: bytes) -> bool:
    """Return whether a script was made here, and not edited since."""
    _, mark, digest, body = (*text.split(b"\n", 3), b"", b"", b"")[:4]
    return mark == _MARK.encode() and digest == (
        f"{_DIGEST}{hashlib.sha256(body).hexdigest()}".encode()
    )
