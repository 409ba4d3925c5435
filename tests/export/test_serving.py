"""TensorFlow Serving: what its own messages read, its loader runs and its clients send."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from keras import layers
from serving_double import Double, serve_grpc, serve_rest
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from mmzoo.encoders.blocks import MaskedPooling
from mmzoo.encoders.text_encoders import ByteTokens
from mmzoo.export import export_bundle
from mmzoo.export.deploy.serving import WARM_UP
from mmzoo.export.deploy.serving_client import ServingError, predict_by_grpc, predict_by_rest
from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.samples.samples import Samples


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    keras.utils.set_random_seed(0)
    text = keras.Input((None,), dtype="uint8", name="text")
    numbers = keras.Input((2,), name="numbers")
    ids, mask = ByteTokens(name="bytes")(text)
    x = MaskedPooling()(layers.ReLU()(layers.Embedding(256, 6)(ids)), mask)
    x = layers.Concatenate()([x, numbers])
    model = keras.Model(
        {"text": text, "numbers": numbers},
        {"probability": layers.Dense(3, activation="softmax", name="p")(x)}, name="words",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    inputs = {
        "text": rng.integers(1, 255, (20, 6)).astype("uint8"),
        "numbers": rng.standard_normal((20, 2), "float32"),
    }
    path = tmp_path_factory.mktemp("serving") / "bundle"
    bundle = export_bundle(model, path, formats=["saved_model"], samples=Samples(inputs))
    return model, inputs, bundle


def test_the_servers_own_message_reads_the_configuration(served):
    _, _, bundle = served
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((bundle.path / "serving/models.config").read_text(), config)
    [model] = config.model_config_list.config
    assert model.name == "words" and model.base_path == "/models/words"
    assert model.model_platform == "tensorflow"
    # Only folders named by an integer are served.
    assert [p.name for p in (bundle.path / "saved_model").iterdir()] == ["1"]
    for name in ("batching.config", "monitoring.config"):
        text = (bundle.path / "serving" / name).read_text()
        assert text.count("{") == text.count("}") > 0
    assert "words" in (bundle.path / "serving/README.md").read_text()


def test_every_warm_up_request_is_one_that_the_servers_loader_runs(served):
    model, inputs, bundle = served
    saved = bundle.path / "saved_model/1"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(saved / WARM_UP))
    ]
    assert len(logs) == 8  # the server takes 1 to 1,000
    signatures = {log.predict_log.request.model_spec.signature_name for log in logs}
    assert signatures == {"serving_default", "portable"}
    rows = np.linspace(0, 19, 4).astype(int)
    whole = model.predict(inputs, verbose=0)["probability"]
    for k, log in enumerate(logs):
        request = log.predict_log.request
        assert request.model_spec.name == "words"
        values = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        values = {n: v.astype("S") if v.dtype == object else v for n, v in values.items()}
        signature = request.model_spec.signature_name
        [outputs] = run_artifact(
            "saved_model", saved, values, [(1, 1)], signature=signature
        ).outputs
        np.testing.assert_allclose(
            outputs["probability"][0], whole[rows[k % 4]], rtol=1e-5, atol=1e-6
        )


def test_the_saved_model_needs_no_operator_that_the_server_lacks(served):
    """The server links TensorFlow's operators and, by name, those of tensorflow-text."""
    from tensorflow.python.framework import op_def_registry

    saved = tf.saved_model.load(str(served[2].path / "saved_model/1"))
    names = set()
    for function in saved.signatures.values():
        definition = function.graph.as_graph_def()
        for nodes in (definition.node, *(f.node_def for f in definition.library.function)):
            names |= {node.op for node in nodes}
    functions = {f.signature.name for f in definition.library.function}
    unknown = {n for n in names - functions if op_def_registry.get(n) is None}
    assert len(names) > 10 and not unknown


def test_a_client_asks_by_name_over_grpc_and_rest(served):
    model, inputs, bundle = served
    double = Double(bundle.path / "saved_model", "words")
    whole = model.predict(inputs, verbose=0)["probability"][:3]
    strings = {
        "text": np.array([bytes(row) for row in inputs["text"][:3]], "S"),
        "numbers": inputs["numbers"][:3],
    }
    portable = {name: value[:3] for name, value in inputs.items()}
    with serve_grpc(double) as address:
        for signature, values in (("serving_default", strings), ("portable", portable)):
            found = predict_by_grpc(address, "words", values, signature=signature, timeout=60)
            np.testing.assert_allclose(found["probability"], whole, rtol=1e-5, atol=1e-6)
        with pytest.raises(ServingError, match="NOT_FOUND: Servable not found"):
            predict_by_grpc(address, "numbers", strings, timeout=60)
        with pytest.raises(ServingError, match=r"INVALID_ARGUMENT.*Expected the signature 'no'"):
            predict_by_grpc(address, "words", strings, signature="no", timeout=60)
    with pytest.raises(ServingError, match="UNAVAILABLE|DEADLINE"):
        predict_by_grpc(address, "words", strings, timeout=2)
    with serve_rest(double, {"text": "S", "numbers": "float32"}) as address:
        found = predict_by_rest(address, "words", strings, timeout=60)
        np.testing.assert_allclose(found[""], whole, rtol=1e-4, atol=1e-6)
        with pytest.raises(ServingError, match="404.*Servable not found"):
            predict_by_rest(address, "numbers", strings, timeout=60)
        with pytest.raises(ValueError, match="Out of range float"):
            predict_by_rest(address, "words", strings | {"numbers": np.full((3, 2), np.nan)})
    with pytest.raises(ServingError, match=address):
        predict_by_rest(address, "words", strings, timeout=2)
