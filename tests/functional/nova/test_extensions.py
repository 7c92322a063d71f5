# mypy: disable-error-code="import-not-found", allow-subclassing-any
"""What Nova loads of this package by entry points."""

from __future__ import annotations

import json
import logging
from typing import Any

import fixtures
from oslo_messaging import Notifier

import nova.conf
from gpu_passthrough_plugin.nova import notification
from nova import rpc
from nova.tests.functional.api import client
from tests.functional.nova import fleet
from tests.functional.nova.cloud import PRIMARY, Cloud

CONF = nova.conf.CONF
WHOLE_LIFE = ["instance.create.end", "instance.delete.end"]
# Since this one the API checks what a flavor's extra specs say.
CHECKING = "2.86"


class ExtraSpecs(Cloud):
    options = PRIMARY

    def set_up(self, **extra_specs: str) -> Any:
        api = self.api_fixture.admin_api
        api.microversion = CHECKING
        flavor = self._create_flavor()
        said = {key.replace("__", ":"): v for key, v in extra_specs.items()}
        return api.post_extra_spec(flavor, {"extra_specs": said})

    def assert_refused(self, words: str, **extra_specs: str) -> None:
        refused = self.assertRaises(
            client.OpenStackApiException, self.set_up, **extra_specs
        )
        self.assertEqual(400, refused.response.status_code)
        self.assertIn(words, str(refused))

    def test_what_the_filter_keeps_is_taken(self) -> None:
        for said in ("same-switch", "same-node"):
            self.set_up(gpu_passthrough__locality=said)

    def test_what_nothing_keeps_is_refused(self) -> None:
        self.assert_refused(
            "'same-rack' is not one of: same-switch, same-node",
            gpu_passthrough__locality="same-rack",
        )
        self.assert_refused(
            "does not appear to be a valid extra spec",
            gpu_passthrough__localty="same-node",
        )

    def test_address_bits_that_nova_itself_does_not_check(self) -> None:
        self.set_up(hw__maxphysaddr_mode="emulate", hw__maxphysaddr_bits="44")
        self.assert_refused(
            "'huge' is not one of: emulate, passthrough",
            hw__maxphysaddr_mode="huge",
        )
        self.assert_refused("max value of '52'", hw__maxphysaddr_bits="64")


class Notifications(Cloud):
    """Nova's own, through a notifier of oslo.messaging's."""

    options = PRIMARY

    def audited(self, attribute: str, form: str) -> list[Any]:
        """The events of one instance's life, as they are written down.

        :param attribute: of ``nova.rpc``, for one of the two formats.
        :param form: what Nova is configured to send.
        """
        logger = self.useFixture(
            fixtures.FakeLogger(
                "gpu_passthrough_plugin.audit",
                level=logging.INFO,
                format="%(message)s",
            )
        )
        marker = self.folder / "marker"
        CONF.register_opts(notification.OPTS, group=notification.GROUP)
        self.flags(group=notification.GROUP, marker=str(marker))
        self.flags(group="notifications", notification_format=form)
        stub = getattr(rpc, attribute)
        notifier = Notifier(
            stub.transport,
            serializer=stub._serializer,
            driver="gpu_passthrough",
        )
        self.stub_out(f"nova.rpc.{attribute}", notifier)
        host = fleet.three_cards("c1")
        self.start(host)
        server = self.boot(self.flavor(host.units[0]))
        self.wait_until(marker.is_file)
        self._delete_server(server)
        self.wait_until(lambda: "instance.delete.end" in logger.output)
        lines = [json.loads(line) for line in logger.output.splitlines()]
        for line in lines:
            self.assertEqual(server["id"], line["instance"])
            self.assertEqual("c1", line["host"])
            self.assertNotIn(None, line.values())
        return [line["event"] for line in lines]

    def test_unversioned(self) -> None:
        self.assertEqual(WHOLE_LIFE, self.audited("LEGACY_NOTIFIER", "both"))

    def test_versioned(self) -> None:
        self.assertEqual(WHOLE_LIFE, self.audited("NOTIFIER", "versioned"))
