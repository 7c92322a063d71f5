"""``[placement]``: where Placement is, in keystoneauth's own options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import (
    Section,
    expected_driver,
    installed_drivers,
)

GROUP = "placement"
# Source: keystoneauth1, setup.cfg.
NAMESPACE = "keystoneauth1.plugin"

AUTH_TYPE = cfg.StrOpt(
    "auth_type",
    default="password",
    help="""
How to authenticate with Placement, for ``[allocation] driver = placement``:
a plugin of keystoneauth. The plugin's own options belong in this group as
well; Nova's ``[placement]`` has the same ones:
https://docs.openstack.org/keystoneauth/latest/plugin-options.html The user
needs the role ``admin`` or ``service``.

Possible values:

* ``password``, with ``auth_url``, ``username``, ``password``,
  ``project_name``, ``user_domain_name`` and ``project_domain_name``;
* ``v3applicationcredential``, with ``auth_url``,
  ``application_credential_id`` and ``application_credential_secret``;
* ``http_basic`` or ``none``, with ``endpoint``, for a Placement without
  Keystone;
* any other installed plugin.
""",
)
ENDPOINT_OVERRIDE = cfg.StrOpt(
    "endpoint_override",
    sample_default="http://controller/placement",
    help="""
URL of Placement. By default, the service catalog is used; ``region_name``
and ``valid_interfaces`` choose among several endpoints in it.
""",
)
TIMEOUT = cfg.IntOpt(
    "timeout",
    default=30,
    min=1,
    max=600,
    help="""
How many seconds Placement or Keystone may take for one response. In a fleet
of a thousand hosts, a query for candidates takes seconds.
""",
)
OPTS = (AUTH_TYPE, ENDPOINT_OVERRIDE, TIMEOUT)


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """The values of ``[placement]``.

    :param options: by keystoneauth's names; empty if no file sets any.
    """

    options: Mapping[str, object] = dataclasses.field(repr=False)


def parse(section: Section) -> Placement:
    """Return the group's values; add its faults to ``section.faults``."""
    if not section.names():
        return Placement({})
    opts = {opt.dest: opt for opt in _others(section)}
    section.register(list(opts.values()))
    opts |= {opt.dest: opt for opt in OPTS}
    section.check_names(opts)
    return Placement(
        {
            name: section.value(opt)
            for name, opt in sorted(opts.items())
            if section.is_set(opt) or opt in (AUTH_TYPE, TIMEOUT)
        }
    )


def _others(section: Section) -> list[cfg.Opt]:
    """Return keystoneauth's options, and those of the configured plugin."""
    # Imported late: listings read the configuration, but not Placement.
    from keystoneauth1 import loading

    opts = [
        *loading.get_session_conf_options(),
        *loading.get_adapter_conf_options(include_deprecated=False),
    ]
    name = section.value(AUTH_TYPE)
    installed = installed_drivers(NAMESPACE)
    if name in installed:
        opts += loading.get_auth_plugin_conf_options(name)
    else:
        section.fault(AUTH_TYPE, expected_driver(installed))
    own = {opt.dest for opt in OPTS}
    return [opt for opt in opts if opt.dest not in own]
