"""The Kubernetes manifest, against the operator's and Kubernetes' own classes."""

import json
import types
from pathlib import Path

import pytest
import yaml

kubernetes = pytest.importorskip("kubernetes", reason="pip install kubeflow-training")
training = pytest.importorskip("kubeflow.training", reason="pip install kubeflow-training")
MANIFEST = Path(__file__).resolve().parent.parent / "examples" / "tfjob.yaml"


def read(manifest):
    """The manifest by the classes, and what they make of it again."""
    client = kubernetes.client.ApiClient()
    for name in dir(training):  # the client looks for classes among its own
        if name.startswith("KubeflowOrgV1"):
            setattr(kubernetes.client.models, name, getattr(training, name))
    answer = types.SimpleNamespace(data=json.dumps(manifest))
    return client.sanitize_for_serialization(client.deserialize(answer, "KubeflowOrgV1TFJob"))


def test_every_field_is_known_and_of_its_type():
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    assert read(manifest) == manifest


@pytest.mark.parametrize("path", [("spec", "runPolicy"), ("spec", "tfReplicaSpecs", "Worker")])
def test_an_unknown_field_is_noticed(path):
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    place = manifest
    for name in path:
        place = place[name]
    place["restarts"] = 3
    assert read(manifest) != manifest


def test_it_runs_a_recipe_that_takes_these_arguments():
    from mmzoo.recipes import concepts

    (container,) = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]["tfReplicaSpecs"][
        "Worker"
    ]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "mmzoo", "run", "concepts"]
    args = concepts.parse(container["args"])
    assert args.strategy == "multiworker" and args.checkpoint_every == 50
    assert str(args.out).startswith(container["volumeMounts"][0]["mountPath"])
