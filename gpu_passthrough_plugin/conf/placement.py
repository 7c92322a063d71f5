"""``[placement]``: where Placement is, in keystoneauth's own options."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Mapping

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
How to prove who asks, where ``[allocation] driver = placement``: a plugin of
keystoneauth. Its own options stand in this group as well, as in Nova's
``[placement]``, whose lines may be taken over:
https://docs.openstack.org/keystoneauth/latest/plugin-options.html
The user needs the role ``admin`` or ``service``.

Possible values:

* ``password``, with ``auth_url``, ``username``, ``password``,
  ``project_name``, ``user_domain_name`` and ``project_domain_name``;
* ``v3applicationcredential``, with ``auth_url``,
  ``application_credential_id`` and ``application_credential_secret``;
* ``http_basic`` or ``none``, with ``endpoint``, for a Placement without
  Keystone;
* any other one that is installed.
""",
)
ENDPOINT_OVERRIDE = cfg.StrOpt(
    "endpoint_override",
    sample_default="http://controller/placement",
    help="""
URL of Placement. Without it, the service catalog tells: there
``region_name`` and ``valid_interfaces`` choose among several.
""",
)
TIMEOUT = cfg.IntOpt(
    "timeout",
    default=30,
    min=1,
    max=600,
    help="""
How many seconds Placement or Keystone may take for one answer. On a fleet of
a thousand hosts a question for candidates takes seconds.
""",
)
OPTS = (AUTH_TYPE, ENDPOINT_OVERRIDE, TIMEOUT)


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """What ``[placement]`` says.

    :param options: by keystoneauth's names; empty when the file has none.
    """

    options: Mapping[str, object] = dataclasses.field(repr=False)


def parse(section: Section) -> Placement:
    """The group's values; what is wrong in it is in ``section.faults``."""
    names = section.names()
    if not names:
        return Placement({})
    known = {opt.dest: opt for opt in _others(section)}
    section.register(list(known.values()))
    known |= {opt.dest: opt for opt in OPTS}
    for name in sorted(names - known.keys()):
        file = section.place(cfg.Opt(name))
        section.faults.append(f"{file}: {_stray(name, known)}")
    return Placement(
        {
            name: section.value(opt)
            for name, opt in sorted(known.items())
            if section.is_set(opt) or opt in (AUTH_TYPE, TIMEOUT)
        }
    )


def _others(section: Section) -> list[cfg.Opt]:
    """keystoneauth's options, with those of the plugin that is named."""
    # Imported late: listings read the configuration, and no Placement.
    from keystoneauth1 import loading

    found = [
        *loading.get_session_conf_options(),
        *loading.get_adapter_conf_options(include_deprecated=False),
    ]
    name = section.value(AUTH_TYPE)
    installed = installed_drivers(NAMESPACE)
    if name in installed:
        found += loading.get_auth_plugin_conf_options(name)
    else:
        section.fault(AUTH_TYPE, expected_driver(installed))
    own = {opt.dest for opt in OPTS}
    return [opt for opt in found if opt.dest not in own]


def _stray(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.75)
    wanted = near[0] if near else f"one of: {', '.join(sorted(known))}"
    return f"[{GROUP}] {name} is no option here; wanted {wanted}"
