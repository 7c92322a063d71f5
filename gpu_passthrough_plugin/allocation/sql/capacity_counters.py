"""How many free primaries of each device model the ledger counts on a host.

Reads and writes the table ``supply``, which ``allocation.capacity``
defines, and the ids of device models.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import capacity
from gpu_passthrough_plugin.allocation.capacity import DeviceModel, FreeCounts
from gpu_passthrough_plugin.allocation.sql import rows, statements
from gpu_passthrough_plugin.model.unit import UnitRecord

ModelIds = Mapping[DeviceModel, int]
"""The row ids of device models."""


def read_model_ids(connection: sa.Connection) -> ModelIds:
    """Return every device model that the ledger has; none is ever removed.

    Malformed ones, which no unit can have, are left out.
    """
    ids = {}
    for row in connection.execute(statements.DEVICE_MODELS):
        with contextlib.suppress(errors.Invalid):
            ids[rows.device_model(*row[1:])] = row.id
    return ids


def _ensure_model_ids(
    connection: sa.Connection, models: Iterable[DeviceModel]
) -> ModelIds:
    """Add the device models that the ledger does not have; return all."""
    ids = read_model_ids(connection)
    new = sorted(frozenset(models) - ids.keys())
    if not new:
        return ids
    connection.execute(
        statements.ADD_DEVICE_MODELS,
        [
            {
                "vendor_id": model.vendor_id,
                "product_id": model.product_id,
                "device_type": model.device_type.value,
            }
            for model in new
        ],
    )
    return read_model_ids(connection)


def update(
    connection: sa.Connection,
    host_id: int,
    model_ids: ModelIds,
    before: Sequence[UnitRecord],
    after: Sequence[UnitRecord],
) -> None:
    """Write the counts of a host that changed with its records.

    The host is not cordoned.

    :param model_ids: may be outdated; then it is read again.
    :param before: the host's records, and ``after``: the same units after
        the change.
    """
    old, new = _counts(before), _counts(after)
    changed = sorted(key for key in new if new[key] != old[key])
    if not changed:
        return
    if not all(model in model_ids for model, _ in changed):
        model_ids = read_model_ids(connection)
        if not all(model in model_ids for model, _ in changed):
            # Another client changed the row of a model.
            _rewrite(connection, host_id, new)
            return
    bound: dict[str, int] = {"of_host": host_id}
    for number, (model, place) in enumerate(changed):
        bound[f"model_{number}"] = model_ids[model]
        bound[f"place_{number}"] = place
        bound[f"free_{number}"] = new[model, place]
    statement = statements.set_free_counts(len(changed))
    result = connection.execute(statement, bound)
    if result.rowcount != len(changed):
        # Another release's code did not write these rows.
        _rewrite(connection, host_id, new)


def repair(
    connection: sa.Connection, host_id: int, records: Sequence[UnitRecord]
) -> None:
    """Repair a host's counts if they disagree with its unit rows."""
    bound = {"host_id": host_id}
    models = {key: model for model, key in read_model_ids(connection).items()}
    stored = {
        (models.get(row.card_id), row.place): row.free
        for row in connection.execute(statements.FREE_COUNTS, bound)
    }
    counts = _counts(records)
    if stored != counts:
        _rewrite(connection, host_id, counts)


def recount(
    connection: sa.Connection, host_id: int, *, is_cordoned: bool
) -> None:
    """Count a host's unit rows again; a cordoned host has none free."""
    bound = {"host_id": host_id}
    units = rows.read_units(
        connection.execute(statements.UNITS_BY_HOST_ID, bound)
    )
    records = [stored.record for stored in units]
    _rewrite(connection, host_id, _counts(records, is_cordoned=is_cordoned))


def _counts(
    records: Collection[UnitRecord], *, is_cordoned: bool = False
) -> FreeCounts:
    return capacity.count_free(
        [r.unit for r in records if r.is_claimable and not is_cordoned],
        [r.unit for r in records],
    )


def _rewrite(
    connection: sa.Connection, host_id: int, counts: FreeCounts
) -> None:
    bound = {"host_id": host_id}
    connection.execute(statements.REMOVE_FREE_COUNTS, bound)
    if not counts:
        return
    model_ids = _ensure_model_ids(connection, (model for model, _ in counts))
    connection.execute(
        statements.ADD_FREE_COUNTS,
        [
            bound
            | {"card_id": model_ids[model], "place": place, "free": number}
            for (model, place), number in sorted(counts.items())
        ],
    )
