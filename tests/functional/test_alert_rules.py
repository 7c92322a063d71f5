"""The alert rules and the dashboard, against promtool and what is exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

from gpu_passthrough_plugin.agent.metrics import PassSnapshot, families

CHECKOUT = Path(__file__).parents[2]
RULES = CHECKOUT / "etc/prometheus/gpu-passthrough.rules.yml"
DASHBOARD = CHECKOUT / "etc/grafana/gpu-passthrough.json"
GUIDE = CHECKOUT / "doc/source/admin/metrics.rst"
TEST = Path(__file__).with_name("alert_rules_test.yml")
_NAME = re.compile(r"\bgpu_passthrough_[a-z_]+\b")
EXPORTED = {family.sample_name for family in families(PassSnapshot())}


def promtool(*words: str, folder: Path = CHECKOUT) -> str:
    done = subprocess.run(
        ("promtool", *words), capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_reads_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


def test_alerts_fire_when_they_have_to(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path / "rules.yml")
    shutil.copy(TEST, tmp_path / "test.yml")
    promtool("test", "rules", "test.yml", folder=tmp_path)


def test_each_name_in_the_rules_is_exported() -> None:
    names = set(_NAME.findall(RULES.read_text()))
    assert len(names) > 8
    assert names - EXPORTED == set()


def test_the_dashboard_shows_each_family_and_no_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [
        target["expr"] for panel in panels for target in panel["targets"]
    ]
    names = {name for text in expressions for name in _NAME.findall(text)}
    assert names == EXPORTED
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_guide_has_each_family_and_each_alert() -> None:
    guide = GUIDE.read_text()
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(alerts) > 10
    missing = [
        name for name in (*EXPORTED, *alerts) if f"``{name}``" not in guide
    ]
    assert missing == []
