"""What docs/cluster.md hands to Kubernetes and Slurm is what they take: pods by Kubernetes' own schemas, scripts that
parse, and nodes that know where their work folders lie."""

import copy
import subprocess

import pytest
import yaml
from helpers import ROOT
from kubernetes_validate import ValidationError, validate

KUBERNETES = "1.31"
CLUSTER = ROOT / "docs/cluster"
MANIFESTS = list(yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text()))
JOB = next(manifest for manifest in MANIFESTS if manifest["kind"] == "RayJob")
SPEC = JOB["spec"]["rayClusterSpec"]
GROUPS = {"head": SPEC["headGroupSpec"]} | {group["groupName"]: group for group in SPEC["workerGroupSpecs"]}


def as_pod_template(group):
    """The part of a group that KubeRay hands on to Kubernetes, as a kind of Kubernetes itself."""
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "one"}, "template": group["template"]}


@pytest.mark.parametrize("manifest", [one for one in MANIFESTS if one is not JOB], ids=lambda one: one["kind"])
def test_plain_manifests_are_taken_by_kubernetes(manifest):
    validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", GROUPS)
def test_pods_are_taken_by_kubernetes(name):
    validate(as_pod_template(GROUPS[name]), KUBERNETES, strict=True)


def test_a_misspelt_key_of_a_pod_is_not_taken():
    group = copy.deepcopy(GROUPS["head"])
    group["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(ValidationError):
        validate(as_pod_template(group), KUBERNETES, strict=True)


@pytest.mark.parametrize("name", GROUPS)
def test_every_volume_is_there_and_parameters_of_ray_are_text(name):
    spec = GROUPS[name]["template"]["spec"]
    there = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]} == there
    assert all(isinstance(value, str) for value in GROUPS[name]["rayStartParams"].values())


def test_the_engine_of_a_worker_sees_its_work_folders_under_the_same_path():
    ray, engine = GROUPS["gpu"]["template"]["spec"]["containers"]
    folder = next(one["value"] for one in ray["env"] if one["name"] == "HARNESS_NODE_FOLDER")
    for container in (ray, engine):
        assert folder in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_operator_is_told_the_version_of_ray_that_the_image_has():
    assert f"ray=={SPEC['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


def test_the_script_for_slurm_parses():
    subprocess.run(["bash", "-n", CLUSTER / "slurm.sh"], check=True)
