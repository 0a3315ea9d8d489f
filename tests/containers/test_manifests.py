"""What we give to an orchestrator: it takes it, our own commands take what it runs, and it is closed by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.loader import Loaded, load_with_warnings
from tests.containers.manifests import (
    MANIFESTS,
    PODS,
    commands,
    document,
    documents,
    options,
    ours,
    parse,
    pod_specs,
)
from tests.kit.kubernetes import complaints

OURS_OF_KRUISE = {"podInjectPolicy", "shareVolumePolicy", "upgradeStrategy"}
"""What a container of a SidecarSet has besides those of a pod. OpenKruise, apis/apps/v1beta1/sidecarset_types.go."""

MODULES = {"v1": "core_v1", "apps/v1": "apps_v1"}


def served(folder: Path) -> Loaded:
    """The configuration in the ConfigMap, as a container finds it."""
    path = folder / "edge.yaml"
    path.write_text(document("configmap.yaml", "ConfigMap")["data"]["edge.yaml"])
    return load_with_warnings(path)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_each_manifest_is_looked_at_here() -> None:
    assert {path.name for path in MANIFESTS} == {"configmap.yaml", *PODS}


@pytest.mark.parametrize("name", [path.name for path in MANIFESTS])
def test_kubernetes_takes_what_is_its_own(name: str) -> None:
    known = [one for one in documents(name) if one["apiVersion"] in MODULES]
    assert known or name == "sidecarset.yaml"
    wrong = [
        complaint
        for one in known
        for complaint in complaints(one, one["kind"], MODULES[one["apiVersion"]], one["kind"])
    ]
    assert wrong == []


def test_openkruise_takes_the_rest() -> None:
    spec = document("sidecarset.yaml", "SidecarSet")["spec"]
    assert set(spec) == {"selector", "namespaceSelector", "updateStrategy", "volumes", "containers"}
    assert set(spec["updateStrategy"]) == {"type", "maxUnavailable"}
    assert spec["updateStrategy"]["type"] in {"RollingUpdate", "NotUpdate"}
    plain = [{key: one for key, one in each.items() if key not in OURS_OF_KRUISE} for each in spec["containers"]]
    assert list(complaints(plain, "List[Container]", "core_v1", "containers")) == []
    assert list(complaints(spec["volumes"], "List[Volume]", "core_v1", "volumes")) == []
    assert list(complaints(spec["selector"], "LabelSelector", "meta_v1", "selector")) == []
    assert list(complaints(spec["namespaceSelector"], "LabelSelector", "meta_v1", "namespaceSelector")) == []
    (edge,) = spec["containers"]
    assert edge["podInjectPolicy"] in {"BeforeAppContainer", "AfterAppContainer"}
    assert edge["shareVolumePolicy"] == {"type": "disabled"}
    assert set(edge["upgradeStrategy"]) == {"upgradeType", "hotUpgradeEmptyImage"}
    assert edge["upgradeStrategy"]["upgradeType"] == "HotUpgrade"


def test_a_mistake_would_be_noticed() -> None:
    pod = document("pod.yaml", "Pod")
    pod["spec"]["containers"][0]["livenessProbe"]["periodSecond"] = 1
    pod["spec"]["terminationGracePeriodSeconds"] = "30s"
    del pod["spec"]["containers"][1]["name"]
    assert list(complaints(pod, "Pod", "core_v1", "Pod")) == [
        "Pod.spec.terminationGracePeriodSeconds: not a int: '30s'",
        "Pod.spec.containers[0].livenessProbe.periodSecond: Kubernetes has no such field",
        "Pod.spec.containers[1].name: is missing",
    ]


@pytest.mark.parametrize("name", PODS)
def test_our_own_commands_take_what_they_run(name: str) -> None:
    lines = list(commands(name))
    assert any(words[0] == "run" for words in lines)
    for words in lines:
        parse(words)


def test_the_configuration_can_be_used(tmp_path: Path) -> None:
    loaded = served(tmp_path)
    assert loaded.warnings == ()
    assert loaded.config.name == "edge"


@pytest.mark.parametrize("name", PODS)
def test_what_is_asked_for_is_what_is_served(name: str, tmp_path: Path) -> None:
    config = served(tmp_path).config
    (port,) = {listener.address.port for listener in config.listeners}
    for container in ours(name):
        assert options(container)["config"] == "/etc/hotswap/edge.yaml"
        assert [one["containerPort"] for one in container.get("ports", [])] in ([port], [])
    for words in commands(name):
        assert words[0] == "run" or config.name in words
    probes = [
        one["readinessProbe"] for spec in pod_specs(name) for one in spec["containers"] if "readinessProbe" in one
    ]
    assert probes
    assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= {port}


@pytest.mark.parametrize("name", PODS)
def test_a_drain_ends_before_the_grace_period(name: str, tmp_path: Path) -> None:
    config = served(tmp_path).config
    (grace,) = {
        one["terminationGracePeriodSeconds"] for one in pod_specs(name) if "terminationGracePeriodSeconds" in one
    }
    assert config.drain_delay < config.drain_timeout < grace - 2
    assert {seconds(options(one)["grace-period"]) for one in ours(name)} == {grace}


@pytest.mark.parametrize("name", PODS)
def test_no_hook_gives_up_before_the_handover_would(name: str, tmp_path: Path) -> None:
    deadline = served(tmp_path).config.upgrade.deadline
    for container in ours(name):
        hook = container.get("lifecycle", {}).get("postStart")
        if hook is not None:
            (timeout,) = [word for word in hook["exec"]["command"] if word.startswith("--timeout=")]
            assert seconds(timeout.removeprefix("--timeout=")) >= 2 * deadline  # two may come at once


@pytest.mark.parametrize("name", PODS)
def test_containers_are_closed(name: str) -> None:
    assert ours(name)
    for container in ours(name):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsUser"] > 0
        assert context["runAsGroup"] > 0
        assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
        assert "cpu" not in container["resources"]["limits"]
    pods = [spec for spec in pod_specs(name) if "securityContext" in spec]
    assert pods
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["shareProcessNamespace"] is False


@pytest.mark.parametrize("name", PODS)
def test_containers_share_the_runtime_directory_and_nothing_they_can_write_besides(name: str) -> None:
    for container in ours(name):
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert [path for path, mount in mounts.items() if not mount.get("readOnly")] == [
            options(container)["runtime-dir"]
        ]
        assert len({mount["name"] for mount in mounts.values()}) == len(mounts)
    volumes = [volume for spec in pod_specs(name) for volume in spec.get("volumes", [])]
    assert {volume["name"] for volume in volumes} == {"runtime", "config"}


def test_both_native_sidecars_are_the_same_but_for_their_names_and_who_tells_the_port() -> None:
    one, other = ours("native-sidecars.yaml")
    assert one["restartPolicy"] == other["restartPolicy"] == "Always"
    assert {key for key in one if one[key] != other.get(key)} == {"name", "ports"}


@pytest.mark.parametrize("name", ["native-sidecars.yaml", "sidecarset.yaml"])
def test_what_the_orchestrator_starts_again_idles(name: str) -> None:
    for container in ours(name):
        assert options(container)["restart-policy"] == "Always"
        assert options(container)["after-handover"] == "idle"
        assert container["lifecycle"]["postStart"]["exec"]["command"][:3] == ["hotswap", "probe", "owner"]
        assert "--or-idle" in container["lifecycle"]["postStart"]["exec"]["command"]
        assert not {"readinessProbe", "startupProbe"} & set(container)  # see docs/containers.md


def test_what_has_exited_stays_so_in_the_plain_pod() -> None:
    spec = document("pod.yaml", "Pod")["spec"]
    (edge,) = ours("pod.yaml")
    assert spec["restartPolicy"] == options(edge)["restart-policy"] == "OnFailure"
    assert options(edge)["after-handover"] == "exit"


def test_a_native_sidecar_has_no_prestop_hook() -> None:
    """It would run while the application still works."""
    assert all("preStop" not in one["lifecycle"] for one in ours("native-sidecars.yaml"))
