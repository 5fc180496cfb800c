"""infra/k8s: each overlay, built by kubectl's own kustomize, against the schemas of Kubernetes and KEDA.

No cluster runs here: what admission, the scheduler and KEDA's operator make of it is not tried.
"""

import json
import re
import subprocess
import tomllib
from dataclasses import fields
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from composed import ROOT, tool
from jsonschema import Draft202012Validator

from agents.exporter import settings as exporter
from agents.exporter.settings import ExporterSettings, load_exporter
from agents.http import settings as http
from agents.http.settings import HttpSettings
from agents.roles import group
from infra.cli import app
from infra.workers import STOP_WAIT_S
from streams import metrics
from streams.settings import FILE_SUFFIX, FROM_FILES, PREFIX, Settings, load
from streams.topics import ALL

OVERLAYS = sorted(path.name for path in (ROOT / "infra/k8s/overlays").iterdir())
KEDA = json.loads((ROOT / "tests/deploy/keda-2.16.json").read_text())
VERSIONS = ("1.30", "1.37")
"""The oldest that has all we use (a pause before the end without a shell), and the newest."""

# What each scaler reads; KEDA's own schema takes any words here. From its documentation, as far as we use it.
TRIGGER_FIELDS = {
    "kafka": {"bootstrapServers", "consumerGroup", "topic", "lagThreshold", "activationLagThreshold"}
    | {"offsetResetPolicy", "version"},
    "prometheus": {"serverAddress", "query", "threshold", "ignoreNullValues"},
    "metrics-api": {"url", "format", "valueLocation", "targetValue"},
}

Object = dict[str, Any]


@cache
def built(overlay: str) -> tuple[Object, ...]:
    """The objects of an overlay."""
    argv = [tool("kubectl"), "kustomize", str(ROOT / "infra/k8s/overlays" / overlay)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a warning: something is obsolete
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> dict[str, Object]:
    """Those of some kinds, by name."""
    return {found["metadata"]["name"]: found for found in built(overlay) if found["kind"] in kinds}


def pods(overlay: str) -> dict[str, Object]:
    """The pod templates, by the name of what makes them."""
    return {name: made["spec"]["template"] for name, made in of_kind(overlay, "Deployment", "Job").items()}


def container(template: Object) -> Object:
    """The only one of a pod."""
    (one,) = template["spec"]["containers"]
    found: Object = one
    return found


def settings_of(overlay: str, template: Object) -> dict[str, str]:
    """The environment that a pod gets."""
    maps = of_kind(overlay, "ConfigMap")
    given: dict[str, str] = {}
    for source in container(template)["envFrom"]:
        given |= maps[source["configMapRef"]["name"]]["data"]
    return given | {one["name"]: one["value"] for one in container(template).get("env", [])}


def keda_schema(kind: str) -> Draft202012Validator:
    """KEDA's schema of a kind."""
    return Draft202012Validator({**KEDA, "$ref": f"#/$defs/{kind}"})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_every_object(overlay: str, version: str) -> None:
    """Each object is valid by the schemas of Kubernetes, unknown fields refused; KEDA's by those of KEDA."""
    for found in built(overlay):
        if found["apiVersion"].startswith("keda.sh/"):
            keda_schema(found["kind"]).validate(found)
        else:
            kubernetes_validate.validate(found, version, strict=True)
        assert found["metadata"]["namespace"] == "floodway"


def test_mistakes_are_found() -> None:
    """The schemas can refuse: a misspelt field of a deployment or a scaled object, a number where a text belongs."""
    deployment = json.loads(json.dumps(of_kind("fixed", "Deployment")["floodway-intake"]))
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    scaled = of_kind("keda-kafka", "ScaledObject")["floodway-intake"]
    for spoilt in (
        {**scaled, "spec": {**scaled["spec"], "maxReplicas": 3}},
        {**scaled, "spec": {**scaled["spec"], "triggers": [{"type": "kafka", "metadata": {"lagThreshold": 4000}}]}},
        {**scaled, "spec": {**scaled["spec"], "triggers": [{"metadata": {}}]}},
    ):
        assert not keda_schema("ScaledObject").is_valid(spoilt)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_guarded_and_bounded(overlay: str) -> None:
    """No root, no privileges, a read-only root, no token for the API, requests and limits; the project's version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, template in pods(overlay).items():
        spec, one = template["spec"], container(template)
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] in of_kind(overlay, "ServiceAccount")
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["resources"]["requests"].keys() == one["resources"]["limits"].keys() == {"cpu", "memory"}
        assert one["image"] == f"floodway:{version}"
        mounts = {mount["name"] for mount in one["volumeMounts"]}
        assert mounts == {volume["name"] for volume in spec["volumes"]}
        (secret,) = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
        assert secret["defaultMode"] == 0o440
    assert not of_kind(overlay, "Secret"), "passwords are made by people, in their cluster"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_and_commands_are_real(overlay: str) -> None:
    """Every variable is a setting with a value that it takes, every command parses; files of secrets are mounted."""
    files = {PREFIX + name.upper() + FILE_SUFFIX for name in FROM_FILES}
    known = {PREFIX + field.name.upper() for field in fields(Settings)} | files
    known |= {http.PREFIX + field.name.upper() for field in fields(HttpSettings)}
    known |= {exporter.PREFIX + field.name.upper() for field in fields(ExporterSettings)}
    for template in pods(overlay).values():
        environ = settings_of(overlay, template)
        assert environ.keys() <= known
        load({name: value for name, value in environ.items() if name not in files})
        app.parse_args([str(word) for word in container(template)["args"]], exit_on_error=False, print_error=False)
        (where,) = [one["mountPath"] for one in container(template)["volumeMounts"] if one["name"] == "secrets"]
        for name, value in environ.items():
            if name.endswith(FILE_SUFFIX):
                assert re.fullmatch(re.escape(where) + r"/[a-z_]+", value), value


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_what_is_served(overlay: str) -> None:
    """Each deployment has three probes, on ports that it declares; liveness asks /livez, readiness /readyz."""
    for name, made in of_kind(overlay, "Deployment").items():
        one = container(made["spec"]["template"])
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        environ = settings_of(overlay, made["spec"]["template"])
        assert environ["FLOODWAY_METRICS_HOST"] == "0.0.0.0"
        if "metrics" in ports:
            variable = "FLOODWAY_EXPORTER_PORT" if name == "floodway-exporter" else "FLOODWAY_METRICS_PORT"
            assert str(ports["metrics"]) == environ[variable], name
            annotations = made["spec"]["template"]["metadata"]["annotations"]
            assert annotations["prometheus.io/port"] == str(ports["metrics"])
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            assert one[probe]["httpGet"]["path"] == path
            assert one[probe]["httpGet"]["port"] in ports
        if "http" in ports:
            assert one["args"][-1] == str(ports["http"])
        patience_s = one["livenessProbe"]["periodSeconds"] * one["livenessProbe"]["failureThreshold"]
        assert patience_s >= Settings().stall_timeout_s, "the worker's own watchdog comes first, and says why"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_is_killed_while_handing_back(overlay: str) -> None:
    """A pod is given more time to end than its process takes at the most, the pause before that included."""
    front = HttpSettings()
    bounds = {"http": front.drain_timeout_s + front.append_timeout_s}
    for name, made in of_kind(overlay, "Deployment").items():
        spec = made["spec"]["template"]["spec"]
        pause_s = container(made["spec"]["template"]).get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        bound_s = pause_s.get("seconds", 0) + bounds.get(name.removeprefix("floodway-"), STOP_WAIT_S)
        assert spec["terminationGracePeriodSeconds"] > bound_s, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_pods(overlay: str) -> None:
    """Services, budgets and policies select pods that there are; a budget never forbids every eviction."""
    labels = [template["metadata"]["labels"] for template in pods(overlay).values()]

    def matched(selector: dict[str, str]) -> int:
        return sum(selector.items() <= found.items() for found in labels)

    for made in of_kind(overlay, "Service").values():
        assert matched(made["spec"]["selector"]) == 1
    looked_at = settings_of(overlay, pods(overlay)["floodway-exporter"])["FLOODWAY_EXPORTER_WORKERS"]
    workers = {name for name, made in pods(overlay).items() if container(made)["args"][0] == "worker"}
    assert {target.partition(":")[0] for target in looked_at.split(",")} == workers
    for target in looked_at.split(","):
        name, port = target.split(":")
        assert of_kind(overlay, "Service")[name]["spec"]["clusterIP"] == "None"
        assert of_kind(overlay, "Service")[name]["spec"]["ports"][0]["port"] == int(port)
    for made in of_kind(overlay, "PodDisruptionBudget").values():
        assert matched(made["spec"]["selector"]["matchLabels"]) == 1
        component = made["metadata"]["name"]
        if "minAvailable" in made["spec"]:
            assert of_kind(overlay, "Deployment")[component]["spec"]["replicas"] > made["spec"]["minAvailable"]
    for made in of_kind(overlay, "NetworkPolicy").values():
        assert matched(made["spec"]["podSelector"]["matchLabels"]) >= 1
    assert of_kind(overlay, "NetworkPolicy")["floodway"]["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name.startswith("keda-")])
def test_scaling_is_of_what_there_is(overlay: str) -> None:
    """Intake is scaled, by lag lifecycle too, within the partitions; groups, topics and metrics are the code's."""
    scaled, deployments = of_kind(overlay, "ScaledObject"), of_kind(overlay, "Deployment")
    topics = {topic.name for topic in ALL}
    assert scaled.keys() == {"floodway-intake"} | ({"floodway-lifecycle"} if overlay == "keda-kafka" else set())
    advice = load_exporter(settings_of(overlay, deployments["floodway-exporter"]["spec"]["template"]))
    for name, made in scaled.items():
        spec, role = made["spec"], name.removeprefix("floodway-")
        target = deployments[spec["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"], "KEDA counts them"
        assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
        assert spec["maxReplicaCount"] <= Settings().topic_partitions
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behaviour["scaleUp"]["stabilizationWindowSeconds"] < behaviour["scaleDown"]["stabilizationWindowSeconds"]
        (trigger,) = spec["triggers"]
        given = trigger["metadata"]
        assert overlay == f"keda-{trigger['type']}"
        assert given.keys() <= TRIGGER_FIELDS[trigger["type"]]
        match trigger["type"]:
            case "kafka":
                assert given["consumerGroup"] == group(role)
                assert given["topic"] in topics
                environ = settings_of(overlay, target["spec"]["template"])
                assert given["bootstrapServers"] == environ["FLOODWAY_KAFKA_BOOTSTRAP"]
            case "prometheus":
                names = set(re.findall(r"\b(?:floodway|kafka)_\w+", given["query"]))
                assert names == {metrics.DESIRED.name}
                assert (advice.autoscale_min, advice.autoscale_max) == (
                    spec["minReplicaCount"],
                    spec["maxReplicaCount"],
                )
                assert f'role="{role}"' in given["query"]
            case "metrics-api":
                service, port = "floodway-exporter", advice.port
                assert (advice.autoscale_min, advice.autoscale_max) == (
                    spec["minReplicaCount"],
                    spec["maxReplicaCount"],
                )
                assert given["url"] == f"http://{service}.floodway.svc:{port}/autoscale?role={role}"
                assert of_kind(overlay, "Service")[service]["spec"]["ports"][0]["port"] == port


def test_the_fixed_overlay_needs_no_keda() -> None:
    """The plain one has numbers of replicas and nothing that a cluster without KEDA would refuse."""
    assert not of_kind("fixed", "ScaledObject")
    assert all(made["spec"]["replicas"] >= 1 for made in of_kind("fixed", "Deployment").values())
