"""Run the operator's command that wipes what a guest left on a device."""

from __future__ import annotations

from typing import ClassVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.operator_command import OperatorCommand
from gpu_passthrough_plugin.model.sanitising import (
    SanitiseDriver,
    SanitiseSettings,
    SanitiseTarget,
)


class SanitiseCommand(SanitiseDriver):
    """The driver ``command``: runs a program of the operator's."""

    runs_in_child: ClassVar[bool] = False

    def __init__(self, settings: SanitiseSettings) -> None:
        if not settings.command:
            raise errors.Invalid(
                "[release] sanitise_driver = command needs [release]"
                " sanitise_command; set it to the path of a program"
            )
        self._title = settings.command[0]
        self._command = OperatorCommand(
            settings.command,
            settings.timeout_s,
            subject="not sanitised",
            option="[release] sanitise_command",
        )

    @property
    def title(self) -> str:
        return self._title

    def sanitise(self, target: SanitiseTarget) -> None:
        """Run the program with the target's variables and no others.

        :raises Stuck: when it does not end, even killed.
        :raises Unavailable: when it cannot be run, fails, or takes too long.
        """
        self._command.run(variables(target))


def variables(target: SanitiseTarget) -> dict[str, str]:
    """Return what the program is told about a unit."""
    values = {
        "HOST": target.host,
        "ADDRESSES": " ".join(map(str, target.addresses)),
        "GROUP": str(target.iommu_group),
        "VENDOR": f"{target.vendor_id:04x}",
        "PRODUCT": f"{target.product_id:04x}",
        "CONSUMER": target.consumer.uuid,
        "CONSUMER_NAME": target.consumer.name,
        "PREVIOUS_CONSUMER": target.previous_consumer,
    }
    return {f"GPU_PASSTHROUGH_{name}": value for name, value in values.items()}
