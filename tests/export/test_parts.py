"""Towers, head, attention and encoded pictures as signatures of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from two_towers import SIZE, build, encoder, every_input, samples

from mmzoo import fusion
from mmzoo.export import ParityError, to_saved_model
from mmzoo.export.certify import signature_checks, single_artifact
from mmzoo.export.certify.edge_cases.image_files import picture_files
from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery import extra_signatures
from mmzoo.export.surgery.encoders import split_towers
from mmzoo.export.surgery.extra_signatures import explain, find_parts
from mmzoo.export.testing.layer_checks import dtype_policy
from mmzoo.tasks import Image


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = build()
    path = tmp_path_factory.mktemp("parts") / "saved"
    return model, to_saved_model(model, path, samples=samples())


def run(path, signature, inputs):
    count = len(next(iter(inputs.values())))
    [outputs] = run_artifact("saved_model", path, inputs, [(7, count)], signature=signature).outputs
    return outputs


def test_parts_have_the_names_of_what_they_carry():
    found = find_parts(build(), (), [Image("image", SIZE)])
    names = {
        key: ([t.name for t in part.inputs], [t.name for t in part.outputs])
        for key, part in found.items()
    }
    image = ["image_tokens", "image_mask", "image_pooled"]
    text = ["text_tokens", "text_mask", "text_pooled"]
    presence = ["image_present", "text_present"]
    assert names.pop("encode_image") == (["image"], image)
    assert names.pop("encode_text") == (["text"], text)
    taken, given = names.pop("fuse")
    assert set(taken) == {*image, *text, *presence, "numbers"} and given == ["scores"]
    taken, given = names.pop("explain")
    assert taken == ["image", "text", "numbers", *presence]
    maps = ["image_reads_text", "text_reads_image"]
    assert sorted(given) == sorted([*maps, *(f"{n}_weight" for n in ("image", "text", "together"))])
    taken, given = names.pop("serving_bytes")
    assert taken == ["image_bytes", "text", "numbers", *presence] and given == ["scores"]
    assert not names


def test_split_equals_whole_and_embeddings_can_be_kept(exported):
    model, path = exported
    inputs = every_input()
    kept = {"numbers": inputs["numbers"]}
    for name in ("image", "text"):
        kept |= run(path, f"encode_{name}", {name: inputs[name]})
        kept[f"{name}_present"] = inputs[f"{name}_present"]
    whole = model.predict(inputs, verbose=0)["scores"]
    np.testing.assert_allclose(run(path, "fuse", kept)["scores"], whole, rtol=1e-5, atol=1e-6)
    other = kept | {"image_pooled": kept["image_pooled"][::-1]}
    assert np.abs(run(path, "fuse", other)["scores"] - whole).max() > 1e-3
    kept["image_present"] = np.zeros(20, bool)
    without = model.predict(inputs | {"image_present": np.zeros(20, bool)}, verbose=0)["scores"]
    assert np.abs(without - whole).max() > 1e-4
    kept["image_tokens"] = np.full_like(kept["image_tokens"], np.nan)
    np.testing.assert_allclose(run(path, "fuse", kept)["scores"], without, rtol=1e-5, atol=1e-6)


def test_a_head_that_does_not_know_what_is_absent_is_no_part(tmp_path):
    """Here `LateFusion` has no presence: only what the encoders are given says it."""
    path = to_saved_model(build(aware=False), tmp_path / "saved", samples=samples())
    signatures = set(tf.saved_model.load(str(path)).signatures)
    assert signatures == {"serving_default", "portable", "explain", "serving_bytes"}


def test_the_head_is_proven_without_a_modality_too(tmp_path, monkeypatch):
    monkeypatch.setattr(single_artifact, "feels_absence", lambda *arguments: False)
    with pytest.raises(ParityError, match="fuse, absent modalities, output 'scores'"):
        to_saved_model(build(aware=False), tmp_path / "saved", samples=samples())


def test_fuse_is_not_exported_without_the_encoders_it_is_proven_with(tmp_path):
    with pytest.raises(ValueError, match="Expected .'encode_image', 'encode_text'. beside 'fuse'"):
        to_saved_model(build(), tmp_path / "s", samples=samples(), signatures=["portable", "fuse"])


def test_parts_of_half_precision_give_float32(tmp_path):
    with dtype_policy("mixed_float16"):
        model = build()
    found = find_parts(model, (), [Image("image", SIZE)])
    parts_of_it = [p for name, p in found.items() if name != "serving_bytes"]
    floats = {t.dtype for part in parts_of_it for t in (*part.inputs, *part.outputs)}
    assert "float16" not in floats and "float32" in floats


def test_shapes_are_those_of_the_whole_model():
    """The encoder takes any size, the model one."""
    image = keras.Input((6, 4, 3), dtype="uint8", name="image")
    numbers = keras.Input((2,), name="numbers")

    def look(x):
        x = layers.Conv2D(5, 2, 2, name="patches")(layers.Rescaling(1 / 255, name="unit")(x))
        return layers.Reshape((-1, 5), name="tokens")(x)

    made = encoder("image", (None, None, 3), "uint8", look)(image)
    flat = layers.Dense(2, name="each")(made["tokens"])
    joined = layers.Concatenate(name="joined")([layers.Flatten()(flat), numbers])
    model = keras.Model([image, numbers], [layers.Dense(2, name="y")(joined)])
    found = find_parts(model)
    assert found["encode_image"].outputs[0].shape == (None, 6, 5)
    assert [tensor.name for tensor in found["fuse"].outputs] == ["y"]


def test_a_nested_model_is_looked_into():
    inner = build()
    taken = {t.name: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for t in inner.inputs}
    outer = keras.Model(taken, inner(taken))
    assert set(split_towers(outer).encoders) == {"image", "text"}


def test_a_modality_without_an_encoder_is_read_by_the_head():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    presence = fusion.presence_inputs(["a", "b"])
    seen = fusion.HideAbsent(name="hide")({"a": a, "b": b}, presence)
    inputs = keras.Input((3,))
    tower = keras.Model(inputs, layers.Dense(2)(inputs), name="a_encoder")
    fused = fusion.Concatenation(name="fusion")({"a": tower(seen["a"]), "b": seen["b"]},
                                                presence=presence)  # fmt: skip
    taken = {t.name: t for t in (a, b, *presence.values())}
    towers = split_towers(keras.Model(taken, {"y": layers.Dense(1)(fused)}))
    assert set(towers.encoders) == {"a"}
    assert {t.name for t in towers.head.inputs} == {"a_encoded", "b", "a_present", "b_present"}


def test_explanations_are_those_of_the_layers_themselves(exported):
    model, path = exported
    inputs = every_input()
    found = run(path, "explain", inputs)
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    np.testing.assert_allclose(found["image_reads_text"].sum(-1), 1, rtol=1e-5)
    assert found["image_reads_text"].shape == (20, 2, 6, 5)
    layer = model.get_layer("attention")
    twin = type(layer).from_config(layer.get_config() | {"return_attention": True})
    made = {m: model.get_layer(f"{m}_encoder")(tensors[m]) for m in ("image", "text")}
    call = [{m: made[m][key] for m in made} for key in ("tokens", "mask")]
    presence = {m: tensors[f"{m}_present"] for m in made}
    twin(*call, presence)
    twin.set_weights(layer.get_weights())
    _, maps = twin(*call, presence)
    for name, value in maps.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
    weights = {k: v for k, v in found.items() if k.endswith("_weight")}
    np.testing.assert_allclose(sum(weights.values()), 1, rtol=1e-5)
    assert layer.return_attention is False


def test_layers_that_say_the_same_names_are_told_apart():
    x = {m: keras.Input((3,), name=m) for m in ("a", "b")}
    first = fusion.LateFusion(name="first")(x)
    second = fusion.WeightedFusion(name="second")({"a": x["a"], "b": first})
    model = keras.Model(x, {"y": second})
    found = explain(model, {m: tf.ones((2, 3)) for m in x})
    assert list(found) == [
        "first_a_weight", "first_b_weight", "second_a_weight", "second_b_weight",
    ]  # fmt: skip
    np.testing.assert_allclose(found["second_b_weight"], 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fusion.GatedFusion(4, name="fusion"),
        lambda: fusion.MeanFusion("probabilities", name="fusion"),
        lambda: fusion.WeightedFusion(name="fusion"),
        lambda: fusion.LateFusion(name="fusion"),
    ],
)
def test_an_absent_modality_has_weight_0(make):
    x = {m: keras.Input((3,), name=m) for m in ("a", "b")}
    presence = fusion.presence_inputs(x)
    model = keras.Model(
        {**x, **{t.name: t for t in presence.values()}}, make()(x, presence=presence)
    )
    here = np.array([True, False, True])
    inputs = {"a": tf.ones((3, 3)), "b": 2 * tf.ones((3, 3))}
    found = explain(model, inputs | {"a_present": here, "b_present": np.array([True, True, False])})
    if not found:  # the mean of all has no weights of its own
        assert isinstance(model.get_layer("fusion"), fusion.MeanFusion)
        return
    np.testing.assert_allclose(found["a_weight"][1:], [0, 1], atol=1e-6)
    np.testing.assert_allclose(found["b_weight"][1:], [1, 0], atol=1e-6)
    assert 0 < float(found["a_weight"][0]) < 1


def test_a_model_is_not_cut_where_something_else_reads_the_input():
    assert set(split_towers(build()).encoders) == {"image", "text"}
    assert set(split_towers(build(hidden=False)).encoders) == {"image", "text"}
    assert split_towers(build(bypass=True)) is None
    x = keras.Input((3,), name="x")
    assert split_towers(keras.Model({"x": x}, {"y": layers.Dense(2)(x)})) is None


def test_encoded_pictures_and_texts_give_the_same_answers(exported):
    model, path = exported
    inputs = every_input()
    taken = {name: inputs[name] for name in ("numbers", "image_present", "text_present")}
    taken["image_bytes"], inputs["image"] = picture_files(inputs["image"])
    whole = model.predict(inputs, verbose=0)["scores"]
    taken["text"] = np.array([bytes(row) for row in inputs["text"]], "S")
    np.testing.assert_allclose(
        run(path, "serving_bytes", taken)["scores"], whole, rtol=1e-5, atol=1e-6
    )
    taken["image_bytes"][3] = b"no picture"
    with pytest.raises(RuntimeFailure, match="image file format"):
        run(path, "serving_bytes", taken)


@pytest.mark.parametrize("signatures", [("encode_text", "explain", "serving_bytes"), ("fuse",)])
def test_a_part_that_answers_otherwise_is_a_breach(tmp_path, monkeypatch, signatures):
    """`fuse` by itself: it is run on what the encoders give."""

    def spoil(part):
        def slightly(values):
            made = part.function(values)
            if next(iter(made.values())).dtype == tf.string or not tf.executing_eagerly():
                made = {k: v if v.dtype == tf.bool else v * 1.001 for k, v in made.items()}
            return made

        return extra_signatures.Part(part.inputs, part.outputs, slightly)

    def wrong(*arguments):
        found = find_parts(*arguments)
        return found | {name: spoil(found[name]) for name in signatures}

    monkeypatch.setattr(single_artifact, "find_parts", wrong)
    with pytest.raises(ParityError) as caught:
        to_saved_model(build(), tmp_path / "saved", samples=samples())
    breaches = caught.value.certificate["formats"]["saved_model"]["breaches"]
    for name in signatures:
        assert any(breach.startswith(f"{name}, batch") for breach in breaches), name
    assert not (tmp_path / "saved").exists()


def test_a_part_that_is_missing_is_a_breach(exported):
    _, path = exported
    entries = {
        k: part.to_json() for k, part in find_parts(build(), (), [Image("image", SIZE)]).items()
    }
    entries["encode_smell"] = entries["encode_text"]
    reference = {key: {} for key in (*entries, "samples")}
    given = Samples(every_input())
    _, breaches, wanted = signature_checks.check_parts(path, entries, given, [], reference, 1e-5)
    assert wanted == 2 * (3 + 3 + 3 + 1 + 5 + 1)
    assert any("encode_smell" in breach and "Found" in breach for breach in breaches)
