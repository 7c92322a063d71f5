"""The journal of what this host does to its instances, one file each."""

from __future__ import annotations

import json
import os
import uuid as uuids
from collections.abc import Callable, Collection
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.host_path import sync_folder
from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Binding, Rebind
from gpu_passthrough_plugin.model.instance import (
    Definition,
    Instance,
    Phase,
)

_FORMAT = 1
_MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, RecursionError,
    errors.Invalid,
)  # fmt: skip


class InstanceJournal:
    """The instances below ``folder``, each written whole, synced, renamed.

    An entry survives a crash of the host; the next command reads it and
    completes or reverts what it describes.

    :param require_lock: called before each change; raises when the host's
        lock was lost, so that the next command finds the entry as it was.
    """

    def __init__(
        self, folder: str, require_lock: Callable[[], None] = lambda: None
    ) -> None:
        self._require_lock = require_lock
        self._folder = folder

    def write(self, instance: Instance) -> None:
        """Write an instance's entry, before the step that it describes."""
        self._require_lock()
        path = self._path(instance.uuid)
        temporary = f"{path}.new"
        try:
            make_private(self._folder)
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(_document(instance), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(self._folder)
        except OSError as error:
            raise errors.Unavailable(
                f"cannot write the journal {path}: {error.strerror}; stopped"
                " before the next step"
            ) from error

    def read(self, uuid: str) -> Instance | None:
        """Return an instance's entry; None if there is none.

        :raises Invalid: when another release or program wrote the file.
        """
        path = self._path(uuid)
        try:
            with open(path, encoding="utf-8") as file:
                instance = _instance(json.load(file))
            if self._path(instance.uuid) != path:
                raise ValueError(f"it describes {instance.uuid}")
            return instance
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.Unavailable(
                f"cannot read the journal {path}: {error.strerror}"
            ) from error
        except _MALFORMED as error:
            raise errors.Invalid(
                f"{path} is not a journal of this release ({error!r}); see"
                " what the instance holds with 'virsh dumpxml' and move the"
                " file away"
            ) from error

    def require_free(
        self, functions: Collection[Address], uuid: str = ""
    ) -> None:
        """Raise if another instance has one of the functions.

        Where the ledger offers them all the same, it is older than that, as
        one that was restored from a copy: nobody has reset what the guest
        used.

        :param uuid: the instance that is to have them.
        :raises Refused: with the instance's UUID.
        """
        for instance in self.instances():
            # That of a quarantine has only the drivers to go back to.
            if instance.uuid == uuid or instance.phase is Phase.QUARANTINED:
                continue
            if not instance.functions.isdisjoint(functions):
                raise errors.Refused(
                    f"this host's journal has it for instance {instance.uuid},"
                    " which the ledger does not have; run 'gpu-passthrough"
                    " agent reconcile', then run this again"
                )

    def has(self, uuid: str) -> bool:
        """Return whether an instance has an entry, readable or not."""
        return self.written_s(uuid) is not None

    def is_commanded(self, uuid: str) -> bool:
        """Return whether a command starts or stops an instance's guest.

        libvirt starts a domain with attached units itself; what an entry
        that cannot be read is about may be either.
        """
        if not self.has(uuid):
            return False
        try:
            instance = self.read(uuid)
        except errors.Invalid:
            return True
        return instance is not None and instance.phase is not Phase.ATTACHED

    def written_s(self, uuid: str) -> float | None:
        """Return when an entry was last written, in seconds since 1970.

        None if there is none.
        """
        path = self._path(uuid)
        try:
            return os.stat(path).st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.Unavailable(
                f"cannot read the journal {path}: {error.strerror}"
            ) from error

    def instances(self) -> tuple[Instance, ...]:
        """Return every instance that has an entry, by UUID."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise errors.Unavailable(
                f"cannot read the journal {self._folder}: {error.strerror}"
            ) from error
        uuids = sorted(n[:-5] for n in names if n.endswith(".json"))
        instances = (self.read(uuid) for uuid in uuids)
        return tuple(i for i in instances if i is not None)

    def remove(self, uuid: str) -> None:
        """Remove an instance's entry, when it holds nothing any more."""
        self._require_lock()
        try:
            os.unlink(self._path(uuid))
            sync_folder(self._folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise errors.Unavailable(
                f"cannot remove {self._path(uuid)}: {error.strerror}"
            ) from error

    def _path(self, uuid: str) -> str:
        # Only a UUID may become a part of a path.
        try:
            name = uuids.UUID(uuid)
        except ValueError as error:
            raise errors.Invalid(
                f"{os.path.join(self._folder, uuid)!r} is not a journal of an"
                " instance; expected UUID.json; move it away"
            ) from error
        return os.path.join(self._folder, f"{name}.json")


def _document(instance: Instance) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "uuid": instance.uuid,
        "name": instance.name,
        "request": instance.request,
        "phase": instance.phase,
        "keeps_claim": instance.keeps_claim,
        "was_started": instance.was_started,
        "is_stopped": instance.is_stopped,
        "own": [str(a) for a in instance.own],
        "cleaned": [str(a) for a in instance.cleaned],
        "boot_id": instance.boot_id,
        "rebinds": [
            {
                "address": str(r.address),
                "was": [r.was.driver, r.was.override],
                "becomes": [r.becomes.driver, r.becomes.override],
            }
            for r in instance.rebinds
        ],
        "definition": _definition_document(instance.definition),
        "keeps_definition": instance.keeps_definition,
        "is_live": instance.is_live,
        "detaching": [str(a) for a in instance.detaching],
    }


def _definition_document(
    definition: Definition | None,
) -> dict[str, object] | None:
    if definition is None:
        return None
    return {
        "functions": [str(a) for a in definition.functions],
        "ports": list(definition.ports),
        "is_own": definition.is_own,
        "digest": definition.digest,
    }


def _instance(document: dict[str, Any]) -> Instance:
    if document["format"] != _FORMAT:
        raise ValueError(f"format {document['format']}")
    return Instance(
        uuid=document["uuid"],
        name=document["name"],
        request=document["request"],
        phase=Phase(document["phase"]),
        keeps_claim=document["keeps_claim"],
        was_started=document["was_started"],
        # Earlier releases did not write it.
        is_stopped=document.get("is_stopped", False),
        own=tuple(map(address.parse, document["own"])),
        cleaned=tuple(map(address.parse, document["cleaned"])),
        boot_id=document.get("boot_id", ""),
        rebinds=tuple(
            Rebind(
                address.parse(r["address"]),
                Binding(*r["was"]),
                Binding(*r["becomes"]),
            )
            for r in document["rebinds"]
        ),
        definition=_definition(document.get("definition")),
        keeps_definition=document.get("keeps_definition", False),
        detaching=tuple(map(address.parse, document.get("detaching", ()))),
        is_live=document.get("is_live", False),
    )


def _definition(document: dict[str, Any] | None) -> Definition | None:
    if document is None:
        return None
    return Definition(
        tuple(map(address.parse, document["functions"])),
        tuple(map(int, document["ports"])),
        bool(document["is_own"]),
        str(document["digest"]),
    )
