"""`/metrics` as Prometheus reads it, and the dashboard and alerts that ask for it: every name they use is there."""

import json
import operator
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gridspine.apps.cli.keys import ClientFile, certificate_request, new_key, private_pem
from gridspine.infra.runtime.settings import Tls
from gridspine.kernel.errors import Overloaded

DEPLOY = Path(__file__).parents[3] / "deploy"
SENML = {"content-type": "application/senml+json"}
settings_for = sys.modules["running_node"].settings_for
running = sys.modules["running_node"].running
_NAME = re.compile(r"\b(?:gridspine|process|up)\w*")
_QUOTED = re.compile(r'"[^"]*"')
_GROUPED = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
_MATCHED = re.compile(r"(\w+)\s*(?:=~|!=|=)\s*\"")
_SHOWN = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")
OF_PROMETHEUS = {"up"}, {"instance", "job"}
"""Metrics and labels that Prometheus adds itself."""


async def scraped(world):
    thing = await world.thing()
    await world.send(f"{thing}/activeEnergyImport", [1, 2, 3])
    await world.op.get("/status")  # somebody has looked at the parts
    answer = await world.op.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return answer.text


def known(text):
    names, labels = set(), set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            names.add(sample.name)
            labels |= set(sample.labels)
    return names, labels


def unknown(text, queries, shown=()):
    """Return the metrics and labels that are asked for and that ``text`` does not have."""
    names, labels = known(text)
    names, labels = names | OF_PROMETHEUS[0], labels | OF_PROMETHEUS[1] | {"le"}
    found = []
    for query in queries:
        found += [name for name in _NAME.findall(_QUOTED.sub('""', query)) if name not in names]
        asked = [label.strip() for group in _GROUPED.findall(query) for label in group.split(",")]
        found += [label for label in asked + _MATCHED.findall(query) if label not in labels]
    return found + [label for words in shown for label in _SHOWN.findall(words) if label not in labels]


def dashboard():
    targets = [
        target
        for panel in json.loads((DEPLOY / "grafana" / "gridspine.json").read_text())["panels"]
        for target in panel["targets"]
    ]
    return [target["expr"] for target in targets], [target["legendFormat"] for target in targets]


def alerts():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert all(rule["annotations"]["to_do"] for rule in rules)
    return [rule["expr"] for rule in rules], [words for rule in rules for words in rule["annotations"].values()]


async def test_the_dashboard_and_the_alerts_ask_for_what_there_is(tmp_path):
    async with running(tmp_path / "data", settings_for(archive=True)) as world:
        text = await scraped(world)
    queries, shown = dashboard()
    assert len(queries) > 20
    # The archive may not have written yet: its partition shows as a series once it has.
    text += 'gridspine_archive_next_offset{partition="0"} 1.0\n' if "gridspine_archive_next_offset{" not in text else ""
    assert unknown(text, queries, shown) == []
    assert unknown(text, *alerts()) == []


def test_a_name_that_is_not_there_is_found():
    text = '# TYPE gridspine_x gauge\ngridspine_x{part="a"} 1\n'
    assert unknown(text, ["sum by (part) (gridspine_x)", 'up{job="g"} == 0'], ["{{part}}"]) == []
    asked = ['rate(gridspine_y[5m]) / sum by (task) (gridspine_x{door="a"})']
    assert unknown(text, asked, ["{{verdict}}"]) == ["gridspine_y", "task", "door", "verdict"]


async def test_the_figures_are_what_happened(world):
    text = await scraped(world)
    value = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert value[("gridspine_readings_total", ("verdict", "received"))] == 3
    assert value[("gridspine_readings_total", ("verdict", "accepted"))] == 3
    assert value[("gridspine_stored_readings_total",)] == 3
    assert value[("gridspine_submit_seconds_count", ("door", "http"))] == 1
    assert value[("gridspine_submit_seconds_sum", ("door", "http"))] > 0
    assert value[("gridspine_commit_seconds_count",)] >= 1
    assert value[("gridspine_part_state", ("part", "log"))] == 0
    assert value[("gridspine_things",)] == 1
    assert value[("gridspine_log_next_offset", ("partition", "0"))] >= 0
    assert value[("gridspine_disk_free_bytes",)] <= value[("gridspine_disk_size_bytes",)]


async def test_refusals_by_limit_are_counted(tmp_path):
    at_most = {"requests_per_s": 0.001, "request_burst": 3}
    async with running(tmp_path / "data", settings_for(http=at_most)) as world:
        codes = [(await world.co.get("/products")).status_code for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        for name in ("failures", "users.addresses"):
            limit = operator.attrgetter(name)(world.node.identity)
            for _ in range(30):
                limit.failed("192.0.2.1")
            with pytest.raises(Overloaded):
                limit.check("192.0.2.1")
        text = (await world.op.get("/metrics")).text
    found = {
        sample.labels["limit"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "gridspine_limit_refusals_total"
    }
    assert found == {"rate": 2, "failures": 1, "sign-in": 1}


async def test_names_say_their_unit(world):
    for family in text_string_to_metric_families(await scraped(world)):
        assert family.documentation, family.name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples if "_created" not in sample.name)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


async def test_strangers_are_not_answered(world):
    assert (await world.nobody.get("/metrics")).status_code == 401
    assert (await world.co.get("/metrics")).status_code == 403


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
async def test_prometheus_takes_rules_and_figures(world):
    text = await scraped(world)
    rules = subprocess.run(
        ["promtool", "check", "rules", DEPLOY / "prometheus" / "alerts.yml"], capture_output=True, text=True, timeout=60
    )
    assert rules.returncode == 0, rules.stdout + rules.stderr
    # Prometheus' own process metrics break its rules of naming; ours must not.
    ours = "".join(line for line in text.splitlines(keepends=True) if "process_" not in line)
    figures = subprocess.run(["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, timeout=60)
    assert figures.returncode == 0, figures.stdout + figures.stderr


async def test_prometheus_proves_itself_by_a_certificate_alone_and_reads_nothing_else(tmp_path):
    settings = settings_for(tls=Tls(enabled=True, port=0))
    async with running(tmp_path / "data", settings) as world:
        directory, authority = world.node.identity.directory, world.node.identity.authority
        url = f"https://127.0.0.1:{world.running._servers[1].port}"
        for role, code in (("auditor", 200), ("consumer", 403)):
            key = new_key()
            made = directory.add_principal("northside-networks", "application", role, [role])
            file = ClientFile(made.id, world.url, key)
            directory.add_key(made.id, file.public_jwk())
            issued = authority.issue(directory.principal(made.id), certificate_request(file))
            (tmp_path / "crt").write_bytes(issued)
            (tmp_path / "key").write_bytes(private_pem(file))
            context = ssl.create_default_context(cadata=authority.ca_pem.decode())
            context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
            async with httpx.AsyncClient(base_url=url, verify=context) as prometheus:
                assert (await prometheus.get("/metrics")).status_code == code
                for path in ("/status", "/things", "/metrics/status", "/metrics/../status"):
                    assert (await prometheus.get(path)).status_code in {401, 404}, path
        strange = ssl.create_default_context(cadata=authority.ca_pem.decode())
        async with httpx.AsyncClient(base_url=url, verify=strange) as nobody:
            assert (await nobody.get("/metrics")).status_code == 401
