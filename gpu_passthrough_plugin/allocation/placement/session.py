"""How keystoneauth reaches Placement, and what its errors mean here."""

from __future__ import annotations

import contextlib
import email.utils
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from keystoneauth1 import adapter, exceptions, loading

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import url

TIMEOUT_S = 30.0
_SERVICE_TYPE = "placement"
# keystoneauth's option: the argument of its session.
_SESSION_OPTIONS = {
    "cafile": "cacert",
    "certfile": "cert",
    "keyfile": "key",
    "insecure": "insecure",
    "timeout": "timeout",
    "tls_ciphers": "tls_ciphers",
    "tls_min_version": "tls_min_version",
}
# keystoneauth's option: the argument of its adapter.
_ADAPTER_OPTIONS = {
    "service_type": "service_type",
    "service_name": "service_name",
    "region_name": "region_name",
    "endpoint_override": "endpoint_override",
    "valid_interfaces": "interface",
}


class NoAnswer(errors.Unavailable):
    """Placement did not answer; the request may have been carried out."""


def new_adapter(settings: Mapping[str, object]) -> adapter.Adapter:
    """Return an adapter for requests to Placement; send nothing yet.

    :param settings: keystoneauth's options by name.
    :raises Invalid: when a setting is wrong or missing.
    """
    # Its warnings name auth_url with the user and password in it; what they
    # say is raised as well.
    logging.getLogger("keystoneauth.identity").setLevel(logging.ERROR)
    given = {k: v for k, v in settings.items() if v is not None}
    session_options = {
        _SESSION_OPTIONS[k]: given[k]
        for k in _SESSION_OPTIONS.keys() & given.keys()
    }
    timeout_s = float(str(session_options.get("timeout", TIMEOUT_S)))
    session_options["timeout"] = timeout_s
    adapter_options: dict[str, Any] = {
        _ADAPTER_OPTIONS[k]: given[k]
        for k in _ADAPTER_OPTIONS.keys() & given.keys()
    }
    adapter_options.setdefault("service_type", _SERVICE_TYPE)
    adapter_options.setdefault("interface", ["internal", "public"])
    return adapter.Adapter(
        session=_new_session(_auth_plugin(given), session_options),
        raise_exc=False,
        # The ledger repeats requests itself: it reads again before it does.
        connect_retries=0,
        status_code_retries=0,
        **adapter_options,
    )


def _new_session(auth: Any, options: Mapping[str, Any]) -> Any:
    try:
        return loading.session.Session().load_from_options(
            auth=auth, **options
        )
    except (exceptions.ClientException, ValueError) as error:
        raise errors.Invalid(f"[placement]: {error}") from error


def _auth_plugin(given: Mapping[str, Any]) -> Any:
    """Return the plugin that ``auth_type`` names, with its own options."""
    name = given.get("auth_type")
    if not name:
        raise errors.Invalid(
            "[placement] auth_type is not set; set it to, for example,"
            " password, with auth_url, username, password, project_name,"
            " user_domain_name and project_domain_name"
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
            f"[placement] auth_type {name} also needs {missing}"
        ) from error
    except exceptions.NoMatchingPlugin as error:
        raise errors.Invalid(
            f"[placement] auth_type {str(name)!r} is not an installed"
            " keystoneauth plugin; expected for example password,"
            " v3applicationcredential or none"
        ) from error


@contextlib.contextmanager
def translate_errors(name: str, auth_url: str = "") -> Iterator[None]:
    """Raise keystoneauth's errors as this project's.

    :param name: of this Placement, without a password.
    :param auth_url: where Keystone is; empty without Keystone.
    :raises NoAnswer: when no answer came.
    :raises Unavailable: when the credentials or the endpoint are wrong.
    """
    try:
        yield
    except exceptions.ConnectionError as error:
        keystone = auth_url.rstrip("/")
        # keystoneauth's texts have the URL that was tried.
        if keystone and keystone in str(error):
            raise NoAnswer(
                f"Keystone at {url.redacted(keystone)} does not answer"
                f" ({_class_names(error)}); check [placement] auth_url and"
                " that its server runs"
            ) from error
        raise NoAnswer(
            f"Placement {name} does not answer ({_class_names(error)}); check"
            " [placement] and that its server runs"
        ) from error
    except (exceptions.Unauthorized, exceptions.Forbidden) as error:
        raise errors.Unavailable(
            f"Keystone refuses the credentials for Placement {name}"
            f" ({_class_names(error)}); check [placement] auth_type and its"
            " options"
        ) from error
    except (
        exceptions.EndpointNotFound,
        exceptions.CatalogException,
        exceptions.DiscoveryFailure,
    ) as error:
        raise errors.Unavailable(
            f"there is no Placement {name} ({_class_names(error)}); check"
            " [placement] endpoint_override or the service catalog"
        ) from error
    except exceptions.ClientException as error:
        raise errors.Unavailable(
            f"a request to Placement {name} failed ({_class_names(error)});"
            " check [placement]"
        ) from error


def age_s(headers: Mapping[str, str]) -> float | None:
    """Return how long ago an answer's subject was last changed.

    By the server's clock alone; None where it does not say.
    Source: placement, rest_api_version_history.rst (1.15).
    """
    try:
        changed = email.utils.parsedate_to_datetime(headers["Last-Modified"])
        now = email.utils.parsedate_to_datetime(headers["Date"])
        return (now - changed).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _class_names(error: Exception) -> str:
    """Return what went wrong without the URL, which may hold a password."""
    inner = error.__cause__ or error.__context__
    name = type(error).__name__
    return f"{name}: {type(inner).__name__}" if inner else name


def location(settings: Mapping[str, object]) -> str:
    """Return where Placement is, for messages; its URL without the user."""
    for name in ("endpoint_override", "endpoint", "auth_url"):
        if settings.get(name):
            shown = url.redacted(str(settings[name]))
            return f"by {shown}" if name == "auth_url" else f"at {shown}"
    return "of the service catalog"
