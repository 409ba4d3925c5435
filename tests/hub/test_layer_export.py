"""Models with modules in all three formats, each verified in its own runtime by the exporter."""

import keras
import modules
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mmzoo.export import Samples, to_onnx, to_saved_model, to_tflite
from mmzoo.hub import HubLayer

EXPORTERS = {"saved_model": to_saved_model, "tflite": to_tflite, "onnx": to_onnx}


@pytest.fixture(scope="module")
def siamese(folder_of):
    """One module called twice, in half precision nowhere, with a head: two inputs."""
    layer = HubLayer(folder_of("image"), trainable=True, name="hub")
    a, b = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    y = layers.Dense(3, name="head")(layers.Subtract()([layer(a), layer(b)]))
    return keras.Model({"left": a, "right": b}, {"y": y})


@pytest.mark.parametrize("format", EXPORTERS)
def test_a_trainable_image_module(siamese, format, tmp_path):
    path = EXPORTERS[format](siamese, tmp_path / "model")
    size = sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file())
    assert size < 200_000


@pytest.mark.parametrize("format", EXPORTERS)
def test_a_bert_encoder_by_token_ids(folder_of, format, tmp_path):
    tokens = {
        name: keras.Input((modules.LENGTH,), dtype="int32", name=name) for name in modules.BERT
    }
    outputs = HubLayer(folder_of("bert_encoder"), name="bert")(tokens)
    model = keras.Model(tokens, {key: outputs[key] for key in ("pooled_output", "sequence_output")})
    ids = np.random.default_rng(0).integers(1, len(modules.WORDS), (20, modules.LENGTH))
    EXPORTERS[format](model, tmp_path / "model", samples=Samples(modules.bert_batch(ids)))


def test_a_waveform_of_the_length_that_its_module_wants(folder_of, tmp_path):
    """An input called `audio` need not have the length of Concept-128's clips."""
    audio = keras.Input((modules.YAMNET_SAMPLES,), name="audio")
    model = keras.Model({"audio": audio}, {"y": HubLayer(folder_of("vggish"))(audio)})
    to_saved_model(model, tmp_path / "model")


def test_a_bert_pair_from_strings(folder_of, tmp_path):
    """Strings in the SavedModel; the preprocessor's ids in the formats that carry none."""
    text = keras.Input((), dtype="string", name="text")
    tokens = HubLayer(folder_of("bert_preprocessor"), name="preprocessor")(text)
    encode = HubLayer(folder_of("bert_encoder"), output_key="pooled_output", name="encoder")
    model = keras.Model({"text": text}, {"pooled": encode(tokens)})
    samples = Samples({"text": np.array(["red apple", "how are", "Are You", "blue sky"] * 5)})
    path = to_saved_model(model, tmp_path / "model", samples=samples)
    words = tf.constant(["red apple", "how are you", ""])
    served = tf.saved_model.load(str(path)).signatures["serving_default"](text=words)
    np.testing.assert_allclose(served["pooled"], model({"text": words})["pooled"], rtol=1e-5)
    to_tflite(model, tmp_path / "model.tflite", samples=samples)


def test_a_module_from_strings_to_features_is_of_the_saved_model_alone(folder_of, tmp_path):
    text = keras.Input((), dtype="string", name="text")
    layer = HubLayer(folder_of("sentence_encoder"), name="hub")
    model = keras.Model({"text": text}, {"y": layer(text)})
    samples = Samples({"text": np.array(["red apple", "how are", "Are You", "blue sky"] * 5)})
    for exporter in (to_tflite, to_onnx):
        with pytest.raises(ValueError, match="input 'text' is one. Layer 'hub' makes float32"):
            exporter(model, tmp_path / "model", samples=samples)
    assert list(tmp_path.iterdir()) == []
    path = to_saved_model(model, tmp_path / "model", samples=samples)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    words = tf.constant(["blue sky"])
    np.testing.assert_allclose(served(text=words)["y"], model({"text": words})["y"], rtol=1e-5)
