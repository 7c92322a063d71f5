"""From what ``[placement]`` says to something that asks Placement."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from keystoneauth1 import adapter, exceptions, loading

from gpu_passthrough_plugin import errors

TIMEOUT_S = 30.0
_SERVICE = "placement"
_SESSION = frozenset(
    {
        "cafile",
        "certfile",
        "keyfile",
        "insecure",
        "timeout",
        "tls_ciphers",
        "tls_min_version",
    }
)
_ADAPTER = {
    "service_type": "service_type",
    "service_name": "service_name",
    "region_name": "region_name",
    "endpoint_override": "endpoint_override",
    "valid_interfaces": "interface",
}


def adapter_for(settings: Mapping[str, object]) -> adapter.Adapter:
    """What asks Placement; nothing is asked yet.

    :param settings: options of keystoneauth's, by name.
    :raises Invalid: when they are wrong, or something is missing.
    """
    given = {k: v for k, v in settings.items() if v is not None}
    session = {k: given[k] for k in _SESSION & given.keys()}
    session["timeout"] = float(str(session.get("timeout", TIMEOUT_S)))
    asked: dict[str, Any] = {
        _ADAPTER[k]: given[k] for k in _ADAPTER.keys() & given.keys()
    }
    asked.setdefault("service_type", _SERVICE)
    asked.setdefault("interface", ["internal", "public"])
    return adapter.Adapter(
        session=_session(_auth(given), session),
        raise_exc=False,
        # What is repeated, and how often, is the ledger's to decide: it
        # reads again before it does so.
        connect_retries=0,
        status_code_retries=0,
        **asked,
    )


def _session(auth: Any, options: Mapping[str, Any]) -> Any:
    try:
        return loading.session.Session().load_from_options(
            auth=auth, **options
        )
    except (exceptions.ClientException, ValueError) as error:
        raise errors.Invalid(f"[placement]: {error}") from error


def _auth(given: Mapping[str, Any]) -> Any:
    """The plugin that ``auth_type`` names, with its own options."""
    name = given.get("auth_type")
    if not name:
        raise errors.Invalid(
            "[placement] auth_type is not set; wanted such as password, with"
            " auth_url, username, password, project_name, user_domain_name"
            " and project_domain_name"
        )
    try:
        loader: loading.BaseLoader[Any] = loading.get_plugin_loader(str(name))
        own = {option.dest for option in loader.get_options()}
        return loader.load_from_options(
            **{k: v for k, v in given.items() if k in own}
        )
    except exceptions.MissingRequiredOptions as error:
        missing = ", ".join(sorted(option.dest for option in error.options))
        raise errors.Invalid(
            f"[placement] auth_type {name} wants {missing} as well"
        ) from error
    except exceptions.NoMatchingPlugin as error:
        raise errors.Invalid(
            f"[placement] auth_type {str(name)!r} is none of keystoneauth's;"
            " wanted such as password, v3applicationcredential or none"
        ) from error


class NoAnswer(errors.Unavailable):
    """No answer, or none of Placement's: it may have been done, or not."""


@contextlib.contextmanager
def errors_translated(name: str) -> Iterator[None]:
    """Raise keystoneauth's errors as ours.

    :param name: of the ledger, without a password.
    :raises NoAnswer: when there was no answer.
    :raises Unavailable: when no credentials or no endpoint is right.
    """
    try:
        yield
    except exceptions.ConnectionError as error:
        raise NoAnswer(
            f"Placement {name} does not answer ({_kind(error)}); check"
            " [placement] and that its server runs"
        ) from error
    except (exceptions.Unauthorized, exceptions.Forbidden) as error:
        raise errors.Unavailable(
            f"Keystone refuses the credentials for Placement {name}"
            f" ({_kind(error)}); check [placement] auth_type and what goes"
            " with it"
        ) from error
    except (
        exceptions.EndpointNotFound,
        exceptions.CatalogException,
        exceptions.DiscoveryFailure,
    ) as error:
        raise errors.Unavailable(
            f"there is no Placement {name} ({_kind(error)}); check"
            " [placement] endpoint_override or the service catalog"
        ) from error
    except exceptions.ClientException as error:
        raise errors.Unavailable(
            f"Placement {name} cannot be asked ({_kind(error)}); check"
            " [placement]"
        ) from error


def _kind(error: Exception) -> str:
    """What went wrong, without a URL: that may hold a password."""
    inner = error.__cause__ or error.__context__
    kind = type(error).__name__
    return f"{kind}: {type(inner).__name__}" if inner else kind
