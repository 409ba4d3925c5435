"""What TensorFlow Serving wants beside a SavedModel: warm-up requests and settings."""

from pathlib import Path

import numpy as np

from mmzoo.export.bundle.formats import PARTS
from mmzoo.export.bundle.manifest import FOLDER_SERVING
from mmzoo.export.certify.check_plan import for_signature
from mmzoo.export.samples.samples import Samples

WARM_UP = "assets.extra/tf_serving_warmup_requests"
WARM_UP_REQUESTS = 4  # a signature; the server takes 1,000 at most
LARGEST_BATCH = 32
README = """Files for TensorFlow Serving. From the bundle's folder:

    docker run -p 8500:8500 -p 8501:8501 \\
      -v "$PWD/saved_model:/models/{name}" -v "$PWD/{folder}:/config" tensorflow/serving \\
      --model_config_file=/config/models.config \\
      --enable_batching --batching_parameters_file=/config/batching.config \\
      --monitoring_config_file=/config/monitoring.config

Requests are batched with others of the same sizes; pad texts and sounds with zeros to a few
lengths of your own. The official server has not run these files: they are written by the messages
of tensorflow-serving-api, and the model was verified in TensorFlow's C API, its loader.
"""


def write_serving(place: Path, name: str, signatures: dict, samples: Samples) -> None:
    """Writes the settings into a bundle, and the warm-up requests into its SavedModel.

    Args:
        place: The bundle's folder, with a SavedModel in it.
        name: Of the model, for clients.
        signatures: Those of the SavedModel, as the manifest has them; parts get no warm-up, so
            that the server starts soon.
        samples: Real samples, which the requests are made of.

    Raises:
        ImportError: If tensorflow-serving-api is not there.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(
        name=name, base_path=f"/models/{name}", model_platform="tensorflow"
    )
    model.model_version_policy.latest.num_versions = 1
    folder = place / FOLDER_SERVING
    folder.mkdir()
    (folder / "models.config").write_text(text_format.MessageToString(config))
    # Of these two messages no package has the types: they are written as the server reads them.
    (folder / "batching.config").write_text(
        f"max_batch_size {{ value: {LARGEST_BATCH} }}\n"
        "batch_timeout_micros { value: 2000 }\n"
        "max_enqueued_batches { value: 100 }\n"
        "num_batch_threads { value: 4 }\n"
        # The server pads with a tensor's own first value, which is content to a model.
        "pad_variable_length_inputs: false\n"
    )
    (folder / "monitoring.config").write_text(
        'prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }\n'
    )
    (folder / "README.md").write_text(README.format(name=name, folder=FOLDER_SERVING))
    _write_warm_up(place / "saved_model/1" / WARM_UP, name, signatures, samples)


def _write_warm_up(path, name, signatures, samples):
    import tensorflow as tf

    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, tensors in signatures.items():
            if not PARTS.fullmatch(signature):
                for request in warm_up_requests(name, signature, tensors["inputs"], samples):
                    writer.write(request.SerializeToString())


def warm_up_requests(name: str, signature: str, inputs: list[dict], samples: Samples):
    """Yields `PredictionLog` messages of one real sample each."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    strings = {t["name"] for t in inputs if t["dtype"] == "string"} & set(samples.texts)
    given = samples.inputs | {key: samples.texts[key] for key in strings}
    given = for_signature(given, inputs)
    for k in np.linspace(0, len(samples) - 1, WARM_UP_REQUESTS).astype(int):
        log = prediction_log_pb2.PredictionLog()
        request = log.predict_log.request
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        for key, value in given.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value[k : k + 1]))
        yield log
