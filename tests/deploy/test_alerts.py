"""Rules, runbooks and the dashboard: checked by promtool, and against the metrics and commands that there are."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from composed import ROOT, services

from infra.cli import app
from streams import metrics
from streams.metrics import Kind

PROMETHEUS = ROOT / "infra/prometheus"
RULES = PROMETHEUS / "rules/alerts.yml"
DASHBOARD = ROOT / "infra/grafana/dashboards/floodway.json"
RUNBOOKS = ROOT / "docs/runbooks"

GIVEN = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Metrics that Prometheus and its client make themselves."""
GIVEN_LABELS = {"job", "instance", "role", "le", "alertname", "alertstate"}
WORDS = {"by", "without", "or", "and", "unless", "on", "bool", "group_left", "group_right", "inf", "offset"}


def promtool(*words: str | Path, cwd: Path = ROOT) -> str:
    """Run it; it must find nothing wrong."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool here; on Debian: apt-get install prometheus")
    done = subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False, timeout=60, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression of rules and dashboard, and where it stands."""
    for name, rule in alerts().items():
        yield name, rule["expr"]
    for panel in panels():
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"].replace("$__rate_interval", "1m")


def names_in(expression: str) -> set[str]:
    """The metrics that an expression names."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\b(by|without|on)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\[[^]]*\]", "", bare)
    return set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", bare)) - WORDS


def labels_in(expression: str) -> set[str]:
    """The labels that an expression names."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    found = {label for inside in re.findall(r"\{([^}]*)\}", bare) for label in re.findall(r"(\w+)\s*[=!]", inside)}
    for inside in re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", bare):
        found |= {label.strip() for label in inside.split(",")} - {""}
    return found


def declared() -> dict[str, set[str]]:
    """The series that our processes tell, by name, with their labels."""
    found: dict[str, set[str]] = {}
    for metric in metrics.ALL:
        endings = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        found |= {metric.name + ending: set(metric.labels) for ending in endings}
    return found


def test_promtool_takes_configuration_and_rules() -> None:
    """Prometheus' own tool parses what is mounted, rules included."""
    assert "SUCCESS" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_each_alert_fires_when_it_must_and_not_otherwise() -> None:
    """The unit tests of the rules, on made-up series; each alert fires in one and is silent in another."""
    promtool("test", "rules", "alerts_test.yml", cwd=ROOT / "tests/deploy")
    cases = [
        case
        for test in yaml.safe_load((ROOT / "tests/deploy/alerts_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    for name in alerts():
        outcomes = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
        assert True in outcomes, name
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert quiet >= alerts().keys() - {"FloodwayDeadLetters"}  # that is quiet for one topic of two


def test_expressions_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """Prometheus' own tool parses each expression of the dashboard."""
    rules = [{"record": f"panel:{i}", "expr": expression} for i, (_, expression) in enumerate(expressions())]
    assert len(rules) > 40
    made = tmp_path / "rules.yml"
    made.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules" in promtool("check", "rules", made)


@pytest.mark.parametrize(("where", "expression"), [*expressions()])
def test_what_is_asked_for_is_told(where: str, expression: str) -> None:
    """Each metric in a rule or panel is declared, and has the labels that are asked for."""
    known = declared()
    named = names_in(expression)
    assert named, where
    assert named <= known.keys() | GIVEN, where
    labels = set().union(*(known.get(name, set()) for name in named)) | GIVEN_LABELS
    assert labels_in(expression) <= labels, where


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_runbook_with_a_command(name: str) -> None:
    """The page exists, says what to do, and begins with a command that parses; texts use labels that the alert has."""
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    page = ROOT / rule["annotations"]["runbook_url"]
    assert page == RUNBOOKS / f"{name}.md"
    text = page.read_text()
    assert text.startswith(f"# {name}\n")
    for part in ("## What it may be", "## What to do", "## When it is over"):
        assert part in text
    (first,) = re.findall(r"^```\n(.+)\n```$", text, re.MULTILINE)
    commands = [shlex.split(line, comments=True) for line in [first, *re.findall(r"`(floodway [^`]+)`", text)]]
    for words in commands:
        if words[0] == "floodway":
            app.parse_args(words[1:], exit_on_error=False, print_error=False)
        else:
            assert words[0] in {"curl", "docker"}
    labels = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
    inside = re.search(r"by \(([^)]*)\)", rule["expr"])
    kept = {label.strip() for label in inside[1].split(",")} if inside else {"role", "instance", "job"}
    assert set(labels) <= kept


def test_every_runbook_is_of_an_alert() -> None:
    """No page is left over from an alert that is gone."""
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == alerts().keys()


def test_the_dashboard_fits_together() -> None:
    """Ids differ, panels don't overlap or stick out, and each asks the source of data that is provisioned."""
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    source = yaml.safe_load((ROOT / "infra/grafana/provisioning/datasources/prometheus.yml").read_text())
    (provisioned,) = source["datasources"]
    cells: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, panel["title"]
        cells |= covered
        assert at["x"] + at["w"] <= 24
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == provisioned["uid"]
    assert provisioned["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((ROOT / "infra/grafana/provisioning/dashboards/floodway.yml").read_text())
    mounts = {mount["target"] for mount in services()["grafana"]["volumes"]}
    assert provider["providers"][0]["options"]["path"] in mounts


def test_prometheus_looks_at_every_service_of_ours() -> None:
    """Each composed process that tells metrics is a target, on the port that it is given."""
    jobs = {
        job["job_name"]: job for job in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    }
    workers = jobs["floodway-worker"]["dns_sd_configs"][0]
    assert set(workers["names"]) == {
        name for name, one in services().items() if (one["command"] or [""])[0] == "worker"
    }
    (front,) = jobs["floodway-front"]["dns_sd_configs"]
    assert (front["names"], front["port"]) == (["http"], workers["port"])
    for name in [*workers["names"], "http"]:
        assert str(workers["port"]) == services()[name]["environment"]["FLOODWAY_METRICS_PORT"]
    exporter = services()["exporter"]["environment"]
    assert jobs["floodway-exporter"]["static_configs"][0]["targets"] == [
        f"exporter:{exporter['FLOODWAY_EXPORTER_PORT']}"
    ]
    looked_at = {target.rpartition(":")[0] for target in exporter["FLOODWAY_EXPORTER_WORKERS"].split(",")}
    assert looked_at == set(workers["names"])
