"""``[placement]``: keystoneauth's options, and none that it has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import conf, errors


def written(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "test.conf"
    path.write_text("\n".join(["[placement]", *lines, ""]))
    return str(path)


def test_nothing_is_set_without_the_group(tmp_path: Path) -> None:
    assert conf.load([written(tmp_path)]).placement.options == {}


def test_novas_own_lines_are_taken(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "auth_type = password",
        "auth_url = http://controller:5000/v3",
        "username = placement",
        "password = s3cret",
        "project_name = service",
        "user_domain_name = Default",
        "project_domain_name = Default",
        "region_name = RegionOne",
        "valid_interfaces = internal,public",
        "insecure = true",
    )
    found = conf.load([path]).placement
    assert found.options == {
        "auth_type": "password",
        "auth_url": "http://controller:5000/v3",
        "username": "placement",
        "password": "s3cret",
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "region_name": "RegionOne",
        "valid_interfaces": ["internal", "public"],
        "insecure": True,
        "timeout": 30,
    }
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("line", "datum"),
    [
        ("auth_type = pasword", "'pasword'; expected one of: admin_token"),
        ("usrname = x", "did you mean username?"),
        ("zzz = s3cret", "expected one of: auth_"),
        ("timeout = 0", "'0'; expected an integer from 1 to 600"),
    ],
)
def test_what_is_wrong(tmp_path: Path, line: str, datum: str) -> None:
    path = written(tmp_path, line)
    with pytest.raises(errors.Faults) as caught:
        conf.load([path])
    (only,) = caught.value.faults
    assert only.startswith(f"{path}: [placement] ")
    assert datum in only
    assert "s3cret" not in only
