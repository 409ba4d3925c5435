"""Other sizes: each is run, or Keras' own refusal is on record."""

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo.export import export_bundle, verify_bundle
from mmzoo.export.certify.check_plan import plan_checks
from mmzoo.export.certify.edge_cases.other_sizes import is_large, other_sizes
from mmzoo.export.certify.edge_cases.size_answers import Refused, answer_at
from mmzoo.export.samples.samples import Samples
from mmzoo.tasks.tensors import Tensor

TENSORS = [
    Tensor("image", "uint8", (None, None, None, 3), kind="image"),
    Tensor("text", "uint8", (None, None), kind="text"),
    Tensor("audio", "float32", (None, None), kind="audio"),
    Tensor("ids", "int32", (None, None), tokens_of="phrase", kind="text"),
    Tensor("numbers", "float32", (None, 4), kind="array"),
]


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return Samples(
        {
            "image": rng.integers(0, 256, (20, 10, 12, 3)).astype("uint8"),
            "text": rng.integers(1, 256, (20, 8)).astype("uint8"),
            "audio": rng.standard_normal((20, 50)).astype("float32"),
            "ids": rng.integers(0, 9, (20, 7)).astype("int32"),
            "numbers": rng.standard_normal((20, 4)).astype("float32"),
        }
    )


def test_every_free_axis_is_shorter_longer_and_at_its_edges(samples):
    sets = other_sizes(samples, TENSORS)
    shapes = {key: {n: v.shape for n, v in values.items()} for key, values in sets.items()}
    whole = {n: (1, *v.shape[1:]) for n, v in samples.inputs.items()}
    assert shapes == {
        "short": {"image": (6, 4, 5, 3), "text": (6, 3), "audio": (6, 16), "ids": (6, 3),
                  "numbers": (6, 4)},
        "long": {"image": (6, 18, 22, 3), "text": (6, 14), "audio": (6, 86), "ids": (6, 12),
                 "numbers": (6, 4)},
        "image 1x1": whole | {"image": (1, 1, 1, 3)},
        "image 3000x4000": whole | {"image": (1, 3000, 4000, 3)},
        "text empty": whole | {"text": (1, 1)},
        "audio 1": whole | {"audio": (1, 1)},
        "audio 960000": whole | {"audio": (1, 960_000)},
    }  # fmt: skip
    assert not sets["text empty"]["text"].any()
    np.testing.assert_array_equal(
        sets["image 1x1"]["image"][0, 0, 0], samples.inputs["image"][0, 0, 0]
    )
    assert other_sizes(samples, [TENSORS[-1]]) == {}
    large = {key for key, values in sets.items() if is_large(samples, values)}
    assert large == {"image 3000x4000", "audio 960000"}


def convolution(size):
    x = keras.Input((None, 3), name="signal")
    pooled = layers.GlobalAveragePooling1D()(layers.Conv1D(5, size)(x))
    return keras.Model({"signal": x}, {"probability": layers.Softmax()(pooled)})


def test_a_size_that_keras_refuses_is_on_record_and_no_other_goes_unrun(tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    given = Samples({"signal": rng.standard_normal((20, 30, 3)).astype("float32")})
    bundle = export_bundle(convolution(12), tmp_path / "b", formats=["onnx"], samples=given)
    refused = bundle.manifest["refused_sizes"]
    assert set(refused) == {"short", "signal 1"} == set(bundle.certificate["not_run"])
    assert all("size" in reason or "dimension" in reason for reason in refused.values())
    sizes = {check["sizes"] for check in bundle.certificate["formats"]["onnx"]["checks"]}
    assert sizes == {"samples", "long", "probes"}
    assert verify_bundle(bundle.path).certificate["not_run"] == refused
    tensors = [Tensor("signal", "float32", (None, None, 3))]
    with pytest.raises(ValueError, match="Expected reference answers of the size 'short'"):
        plan_checks(given, tensors, {"samples": {}}, strings=False)


def test_a_size_that_would_fill_the_memory_is_not_tried():
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = layers.Conv2D(64, 1)(layers.Rescaling(1 / 255)(image))
    model = keras.Model({"image": image}, {"mean": layers.GlobalAveragePooling2D()(x)})
    values = {"image": np.zeros((1, 3000, 4000, 3), "uint8")}
    with pytest.raises(Refused, match=r"one of its tensors would take 2\.9 GiB"):
        answer_at(model, values)
    made = answer_at(model, {"image": np.full((1, 2, 3, 3), 255, "uint8")})
    np.testing.assert_allclose(
        made["mean"], model.layers[-2].get_weights()[0][0, 0].sum(0)[None], rtol=1e-5
    )


def mean_of_many():
    """Its mean over twelve million positions is another one in each runtime."""
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = layers.Conv2D(8, 3)(layers.Rescaling(1 / 255)(image))
    return keras.Model({"image": image}, {"mean": layers.GlobalAveragePooling2D(name="pool")(x)})


def test_what_float32_does_not_carry_is_stated(tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    given = Samples({"image": rng.integers(0, 256, (20, 16, 16, 3)).astype("uint8")})
    bundle = export_bundle(mean_of_many(), tmp_path / "b", formats=["tflite"], samples=given)
    entry = bundle.certificate["formats"]["tflite"]
    [limit] = entry["limits"]
    assert limit.startswith("image 3000x4000, output 'mean': off by ")
    [check] = [check for check in entry["checks"] if check["sizes"] == "image 3000x4000"]
    assert check["scale_relative"] > 1e-5 and check["tolerance"] is None and check["holds"]
    assert verify_bundle(bundle.path).certificate["formats"]["tflite"]["limits"] == [limit]
