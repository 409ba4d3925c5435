"""One way to say where a model trains."""

import json
import os

import tensorflow as tf

STRATEGIES = ("auto", "one", "mirrored", "multiworker", "tpu")


def strategy(name: str = "auto", *, replicas: int | None = None) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of a name.

    Args:
        name: "one", one device: the first GPU, or the CPU. "mirrored", all GPUs of this machine,
            or, where there is none, logical CPUs. "multiworker", the machines of `TF_CONFIG`, each
            with all its GPUs or its CPU. "tpu", all cores of the TPU (not run by us: TensorFlow
            2.21 has no TPU package; 2.19 or 2.20 with `tensorflow-tpu` have). "auto" takes
            multiworker where `TF_CONFIG` names several tasks, tpu where `TPU_NAME` is set, mirrored
            where there are several GPUs, else one.
        replicas: With "mirrored", how many devices; on a machine without a GPU as many logical
            CPUs are made. None: all there are.

    Returns:
        A strategy. With one device in all it is a `OneDeviceStrategy`, which can do more.

    Raises:
        ValueError: If there is no such name, device or cluster.
        RuntimeError: If logical CPUs are to be made after TensorFlow has begun to work.
    """
    if name not in STRATEGIES:
        raise ValueError(f"Expected a strategy of {STRATEGIES}. Received: {name!r}.")
    if name == "auto":
        name = _find()
    if replicas is not None and name != "mirrored":
        raise ValueError(
            f'`replicas` goes with "mirrored". Received: replicas={replicas} with {name!r}.'
        )
    return {"one": _one, "mirrored": _mirrored, "multiworker": _workers, "tpu": _tpu}[name](
        replicas
    )


def task() -> tuple[int, int]:
    """`(number of this worker, number of workers)` by `TF_CONFIG`; `(0, 1)` without it."""
    config = _cluster()
    workers = _tasks(config)
    if not workers:
        return 0, 1
    own = config.get("task", {})
    if own.get("type") not in ("worker", "chief") or not isinstance(own.get("index"), int):
        raise ValueError(
            'Expected TF_CONFIG with "task": {"type": "worker", "index": 0}. Received: '
            f"{own}. Kubernetes' TFJob sets it; `mmzoo train-cluster` does on one machine."
        )
    chiefs = len(config["cluster"].get("chief", []))
    index = own["index"] + (chiefs if own["type"] == "worker" else 0)
    return index, len(workers)


def _find():
    if len(_tasks(_cluster())) > 1:
        return "multiworker"
    if os.environ.get("TPU_NAME"):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"


def _cluster():
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return {}
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"Expected JSON in the environment variable TF_CONFIG. Received: {text!r} ({error})."
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"Expected an object in TF_CONFIG. Received: {text!r}.")
    return config


def _tasks(config):
    cluster = config.get("cluster", {})
    if "ps" in cluster:
        raise ValueError(
            "Expected TF_CONFIG without parameter servers, which Keras 3 can't use. Received: "
            f"{sorted(cluster)}. Make every task a worker."
        )
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def _one(replicas):
    del replicas
    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


def _mirrored(replicas):
    if replicas is not None and replicas < 1:
        raise ValueError(f"`replicas` must be a positive int. Received: replicas={replicas}.")
    if tf.config.list_physical_devices("GPU"):
        found = [device.name for device in tf.config.list_logical_devices("GPU")]
        reduction = None  # NCCL
    else:
        if replicas is not None:
            _make_cpus(replicas)
        found = [device.name for device in tf.config.list_logical_devices("CPU")]
        # Several strategies may live in one process; by collectives the second one hangs.
        reduction = tf.distribute.ReductionToOneDevice()
    wanted = len(found) if replicas is None else replicas
    if wanted > len(found):
        raise ValueError(f"Expected {wanted} devices. Received: {found}. Ask for fewer replicas.")
    if wanted == 1:
        return tf.distribute.OneDeviceStrategy(found[0])
    return tf.distribute.MirroredStrategy(found[:wanted], cross_device_ops=reduction)


def _make_cpus(count):
    cpu = tf.config.list_physical_devices("CPU")[0]
    made = tf.config.get_logical_device_configuration(cpu)
    if count == 1 or (made is not None and len(made) >= count):
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        raise RuntimeError(
            f"Expected to make {count} logical CPUs before TensorFlow's first operation. Received: "
            "a call after it. Call `mmzoo.training.strategy` first."
        ) from error


def _workers(replicas):
    del replicas
    if len(_tasks(_cluster())) < 1:
        raise ValueError(
            'Expected the cluster in the environment variable TF_CONFIG for "multiworker". '
            "Received: none. `mmzoo train-cluster` sets it on one machine, Kubernetes' TFJob on "
            "many."
        )
    task()
    kind = tf.distribute.experimental.CommunicationImplementation
    gpus = tf.config.list_physical_devices("GPU")
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=kind.NCCL if gpus else kind.RING
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu(replicas):
    del replicas
    address = os.environ.get("TPU_NAME", "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(address)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"Expected a TPU at {address!r}, as the environment variable TPU_NAME says. Received: "
            f"{error}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
