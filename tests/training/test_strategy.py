"""Which strategy a name gives, and what is refused."""

import json

import pytest
import tensorflow as tf

from mmzoo import training
from mmzoo.training.distributed.strategy import task

WORKERS = ["127.0.0.1:1", "127.0.0.1:2"]


@pytest.fixture
def cluster(monkeypatch):
    """Sets TF_CONFIG."""

    def put(value):
        monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))

    return put


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["one", "auto"])
def test_one_device(name):
    found = training.strategy(name)
    assert type(found) is tf.distribute.OneDeviceStrategy
    assert found.num_replicas_in_sync == 1


def test_mirrored_on_one_device_is_one_device():
    assert type(training.strategy("mirrored", replicas=1)) is tf.distribute.OneDeviceStrategy


def test_logical_cpus_come_before_tensorflows_first_operation():
    tf.zeros(1)
    with pytest.raises(RuntimeError, match="before TensorFlow's first operation"):
        training.strategy("mirrored", replicas=64)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"name": "parameter_server"}, "Expected a strategy of"),
        ({"name": "mirrored", "replicas": 0}, "`replicas` must be a positive int"),
        ({"name": "one", "replicas": 2}, '`replicas` goes with "mirrored"'),
        ({"name": "multiworker"}, "Expected the cluster in the environment variable TF_CONFIG"),
    ],
)
def test_what_can_not_be_is_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        training.strategy(**arguments)


def test_a_tpu_that_is_not_there(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "nowhere")
    with pytest.raises(ValueError, match="Expected a TPU at 'nowhere'"):
        training.strategy("auto")


class TestTask:
    def test_without_a_cluster(self):
        assert task() == (0, 1)

    def test_workers(self, cluster):
        for index in (0, 1):
            cluster({"cluster": {"worker": WORKERS}, "task": {"type": "worker", "index": index}})
            assert task() == (index, 2)

    def test_a_chief_comes_first(self, cluster):
        machines = {"chief": ["127.0.0.1:3"], "worker": WORKERS}
        cluster({"cluster": machines, "task": {"type": "worker", "index": 1}})
        assert task() == (2, 3)
        cluster({"cluster": machines, "task": {"type": "chief", "index": 0}})
        assert task() == (0, 3)

    @pytest.mark.parametrize(
        "value, match",
        [
            ("{", "Expected JSON in the environment variable TF_CONFIG"),
            ("[]", "Expected an object in TF_CONFIG"),
            ({"cluster": {"worker": WORKERS}}, 'Expected TF_CONFIG with "task"'),
            ({"cluster": {"ps": WORKERS}}, "without parameter servers"),
        ],
    )
    def test_what_is_wrong_is_said(self, cluster, value, match):
        cluster(value)
        with pytest.raises(ValueError, match=match):
            task()
