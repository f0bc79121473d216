"""The alert rules and the dashboard, held against Prometheus' own tool and against what Paybell counts."""

import json
import re
from pathlib import Path

import pytest
from prometheus import OPS, PROMTOOL, alerts, run

from paybell.telemetry.metrics import Metrics
from paybell.testing.system_packages import ensure_installed

DOCS = Path(__file__).parents[2] / "docs"
_NAME = re.compile(r"\bpaybell_[a-z_]+")


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Prometheus' tool, found or installed."""
    return Path(ensure_installed(PROMTOOL, print))


async def test_every_alert_fires_when_it_must_and_only_then(promtool: Path) -> None:
    await run(promtool, "check", "rules", str(OPS / "alerts.yml"))
    await run(promtool, "test", "rules", str(OPS / "alerts_test.yml"))

    tried = (OPS / "alerts_test.yml").read_text()
    assert all(f"{name} fires" in tried and f"{name} stays quiet" in tried for name in alerts())
    assert len(alerts()) > 8


async def test_every_alert_says_what_to_do_and_is_documented() -> None:
    rules = (OPS / "alerts.yml").read_text().split("- alert: ")[1:]
    operations = (DOCS / "operations.md").read_text()

    assert all("summary:" in rule and "action:" in rule and "severity:" in rule for rule in rules)
    assert [name for name in alerts() if f"`{name}`" not in operations] == []


async def test_rules_and_dashboard_ask_for_what_is_counted(promtool: Path, tmp_path: Path) -> None:
    counted = set(_NAME.findall(Metrics().exposition().decode()))
    panels = json.loads((OPS / "grafana-dashboard.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]

    assert set(_NAME.findall("\n".join([*asked, (OPS / "alerts.yml").read_text()]))) <= counted
    # The same expressions as rules: the tool reads them as Prometheus would.
    records = [
        {"record": f"panel_{n}", "expr": expr.replace("$__rate_interval", "5m")}
        for n, expr in enumerate(asked)
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": records}]}))
    await run(promtool, "check", "rules", str(tmp_path / "panels.yml"))


async def test_every_metric_is_on_the_dashboard() -> None:
    shown = (OPS / "grafana-dashboard.json").read_text()
    families = re.findall(
        r"^# TYPE (paybell_\w+) (?!gauge_created)", Metrics().exposition().decode(), re.MULTILINE
    )

    assert [name for name in families if not name.endswith("_created") and name not in shown] == []
