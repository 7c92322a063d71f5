"""Settings of ``[placement]``, and what keystoneauth's errors mean."""

from __future__ import annotations

import pytest
from keystoneauth1 import exceptions

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import session
from gpu_passthrough_plugin.allocation.placement.session import NoAnswer

SECRET = "s3cret"  # noqa: S105 - of no server


@pytest.mark.parametrize(
    ("settings", "location"),
    [
        ({"endpoint": f"http://u:{SECRET}@h:1/p"}, "at http://***@h:1/p"),
        (
            {"endpoint_override": "http://h/p", "endpoint": "x"},
            "at http://h/p",
        ),
        ({"auth_url": f"http://u:{SECRET}@k/v3"}, "by http://***@k/v3"),
        ({}, "of the service catalog"),
    ],
)
def test_location_without_a_password(
    settings: dict[str, object], location: str
) -> None:
    assert session.location(settings) == location


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({}, "auth_type"),
        ({"auth_type": "zzz"}, "zzz"),
        ({"auth_type": "password", "password": SECRET}, "auth_url"),
    ],
)
def test_settings_that_are_wrong(
    settings: dict[str, object], option: str
) -> None:
    with pytest.raises(errors.Invalid, match=option) as caught:
        session.new_adapter(settings)
    assert SECRET not in str(caught.value)


def test_settings_that_are_right() -> None:
    adapter = session.new_adapter(
        {
            "auth_type": "none",
            "endpoint": "http://h:1",
            "region_name": "two",
            "valid_interfaces": ["public"],
            "timeout": 7,
            "cafile": None,
        }
    )
    assert (adapter.region_name, adapter.interface) == ("two", ["public"])
    assert adapter.service_type == "placement"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.ConnectFailure(SECRET), NoAnswer),
        (exceptions.ConnectTimeout(SECRET), NoAnswer),
        (exceptions.Unauthorized(SECRET), errors.Unavailable),
        (exceptions.Forbidden(SECRET), errors.Unavailable),
        (exceptions.EndpointNotFound(SECRET), errors.Unavailable),
        (exceptions.EmptyCatalog(SECRET), errors.Unavailable),
        (exceptions.DiscoveryFailure(SECRET), errors.Unavailable),
        (exceptions.MissingAuthPlugin(SECRET), errors.Unavailable),
    ],
)
def test_errors_of_keystoneauth(
    error: Exception, expected: type[Exception]
) -> None:
    with (
        pytest.raises(errors.Unavailable, match="at URL") as caught,
        session.translate_errors("at URL"),
    ):
        raise error
    assert type(caught.value) is expected
    assert type(error).__name__ in str(caught.value)
    assert SECRET not in str(caught.value)


def test_keystone_is_named_where_it_does_not_answer() -> None:
    """Both are on one server, below different paths."""
    keystone = "http://me:w0rd@ctl/identity/v3"
    tried = "Unable to establish connection to {}: refused"
    for url, name in (
        (f"{keystone}/auth/tokens", "Keystone at http://"),
        ("http://ctl/placement/", "Placement at URL"),
    ):
        with (
            pytest.raises(NoAnswer) as caught,
            session.translate_errors("at URL", f"{keystone}/"),
        ):
            raise exceptions.ConnectFailure(tried.format(url))
        assert str(caught.value).startswith(name)
        assert "w0rd" not in str(caught.value)


def test_the_age_is_told_by_the_servers_clock_alone() -> None:
    headers = {
        "Date": "Mon, 30 Nov 2026 12:00:09 GMT",
        "Last-Modified": "Mon, 30 Nov 2026 12:00:01 GMT",
    }
    assert session.age_s(headers) == 8.0
    for name in headers:
        without = {key: v for key, v in headers.items() if key != name}
        assert session.age_s(without) is None
        assert session.age_s({**headers, name: "yesterday"}) is None
