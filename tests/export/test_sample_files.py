"""`--samples FILE.npz`: each fault is an error that names the file, the array and the way out."""

import shutil

import keras
import numpy as np
import pytest
from keras import layers

from mmzoo import export, fusion
from mmzoo.export.samples.files import load_samples
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.model_description import describe

COUNT = 20


@pytest.fixture(scope="module")
def model():
    """Numbers and an image, either may be absent, to three scores."""
    given = {
        "numbers": keras.Input((2,), name="numbers"),
        "image": keras.Input((4, 4, 3), dtype="uint8", name="image"),
    }
    presence = fusion.presence_inputs(list(given))
    seen = fusion.HideAbsent(name="hide")(given, presence)
    image = layers.Flatten(name="flat")(layers.Rescaling(1 / 255, name="unit")(seen["image"]))
    x = layers.Concatenate(name="both")([seen["numbers"], image])
    taken = {t.name: t for t in (*given.values(), *presence.values())}
    return keras.Model(taken, {"probability": layers.Dense(3, "softmax", name="p")(x)})


def arrays(**changes):
    """A file's arrays, with these in place of its own; None takes one away."""
    rng = np.random.default_rng(0)
    whole = {
        "numbers": rng.standard_normal((COUNT, 2)).astype("float32"),
        "image": rng.integers(0, 256, (COUNT, 4, 4, 3)).astype("uint8"),
        "numbers_present": np.arange(COUNT) % 2 == 0,
        "image_present": np.ones(COUNT, bool),
        "labels": np.arange(COUNT) % 3,
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def read(path, given, model):
    np.savez(path, **given)
    return load_samples(path).fit(describe(model)[0])


def nan(*rows):
    value = arrays()["numbers"]
    value[list(rows), 1] = np.nan
    return value


def test_a_whole_file_is_read(model, tmp_path):
    spoilt = arrays(numbers=nan(1, 3), image_fit=np.array("crop"))  # absent there
    samples = read(tmp_path / "s.npz", spoilt, model)
    assert len(samples) == COUNT and samples.image_fit == "crop"
    assert samples.inputs["numbers_present"].sum() == COUNT // 2
    prefixed = {f"input/{n}" if n != "labels" else n: v for n, v in arrays().items()}
    assert set(read(tmp_path / "p.npz", prefixed, model).inputs) == set(samples.inputs)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None, "label": np.zeros(COUNT, int)}, "array 'label', .* Is it 'labels'?"),
        ({"labels": None, "y": np.zeros(COUNT, int)}, "array 'y', which is no input.*Leave it out"),
        ({"image": None, "images": arrays()["image"]}, "array 'images', .* Is it 'image'?"),
        ({"Labels": np.zeros(COUNT, int)}, "array 'Labels', .* Is it 'labels'?"),
        ({"numbers_present": None}, "no array 'numbers_present', .* Add it, bool"),
        ({"numbers_present": None, "image_present": None}, "no array 'numbers_present'"),
        ({"numbers_present": np.ones(COUNT)}, "samples of 'numbers_present' as bool.*astype"),
        ({"image": arrays()["image"].astype("float32")}, r"'image' as uint8 .*astype\('uint8'\)"),
        ({"numbers": np.zeros((COUNT, 3), "float32")}, r"shape \(None, 2\).*\(20, 3\)"),
        ({"image": arrays()["image"][:19]}, "as many of each input.*'image' 19.* Cut 'image'"),
        ({n: v[:0] for n, v in arrays().items()}, "at least one sample.*'numbers' 0"),
        ({"labels": np.zeros(19, int)}, r"expected 20 integer labels.*\(19,\)"),
        ({"labels": np.zeros(COUNT)}, "expected 20 integer labels.*float64"),
        ({"labels": np.array(["a"] * COUNT)}, "'labels' is an array of <U1.*integers from 0"),
        ({"numbers": nan(4, 6)}, "'numbers' holds NaN or infinity in 2 of 20 samples, sample 4"),
        ({"numbers": np.full((COUNT, 2), np.inf, "float32")}, "in 10 of 20 samples, sample 0"),
        ({"image": np.array([{}] * COUNT, object)}, "array 'image' NumPy can't read: Object arra"),
        ({"image": np.array(["a"] * COUNT)}, "'image' is an array of <U1. .*encode_text"),
        ({"numbers": np.zeros((COUNT, 0), "float32")}, "'numbers' is empty, of shape"),
        ({"numbers": np.float32(3)}, "'numbers' is a single value"),
        ({"image_fit": np.array(3)}, "`image_fit` must be a string"),
        ({"input/image": arrays()["image"]}, "stands beside 'image'"),
    ],
)
def test_faults_are_named(model, tmp_path, changes, words):
    with pytest.raises(ValueError, match=f"(?s){words}") as caught:
        read(tmp_path / "mine.npz", arrays(**changes), model)
    assert str(tmp_path / "mine.npz") in str(caught.value)


def test_files_that_are_none_are_named(tmp_path):
    np.savez(tmp_path / "empty.npz")
    np.savez(tmp_path / "labels.npz", labels=np.zeros(COUNT, int))
    for name in ("empty.npz", "labels.npz"):
        with pytest.raises(ValueError, match=f"{name}: there is no array of an input"):
            load_samples(tmp_path / name)
    with pytest.raises(ValueError, match=r"none.npz: there is no such file of samples"):
        load_samples(tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("a,b")
    np.savez(tmp_path / "cut.npz", image=np.zeros((COUNT, 64), "uint8"))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-30])
    for name in ("one.npy", "text.npz", "cut.npz"):
        with pytest.raises(ValueError, match=f"(?s)an .npz file .*{name}.* Write it with np.savez"):
            load_samples(tmp_path / name)


def test_labels_of_another_shape_are_refused(model, tmp_path):
    samples = Samples(arrays(labels=None), np.zeros((COUNT, 1), int))
    with pytest.raises(ValueError, match="expected 20 integer labels"):
        export.export_bundle(model, tmp_path / "b", formats=("onnx",), samples=samples)


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range_is_refused_before_anything_is_written(model, tmp_path, label):
    labels = arrays()["labels"]
    labels[7] = label
    np.savez(tmp_path / "mine.npz", **arrays(labels=labels))
    with pytest.raises(ValueError, match=rf"mine.npz: `labels` .* 0 to 2.*{label} in sample 7, 1 "):
        export.export_bundle(
            model, tmp_path / "b", formats=("onnx",), samples=load_samples(tmp_path / "mine.npz")
        )
    with pytest.raises(ValueError, match="`samples`: `labels` must be from 0 to 2"):
        given = arrays(labels=None)
        export.export_bundle(
            model, tmp_path / "b", formats=("onnx",), samples=Samples(given, labels)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]


def test_some_presence_arrays_without_the_others_are_refused(model):
    given = arrays(labels=None, numbers_present=None)
    with pytest.raises(ValueError, match="`samples`: there is no array 'numbers_present'"):
        Samples(given).fit(describe(model)[0])


def test_what_is_absent_in_the_file_is_absent_in_the_certificate(model, tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    samples = load_samples(tmp_path / "mine.npz")
    bundle = export.export_bundle(model, tmp_path / "b", formats=("onnx",), samples=samples)
    answer = model.predict(samples.inputs, verbose=0)["probability"].argmax(1)
    metric = bundle.certificate["formats"]["onnx"]["metric"]
    assert metric["keras"] == pytest.approx((answer == samples.labels).mean())
    shutil.copy(bundle.path / "samples.npz", tmp_path / "again.npz")
    again = load_samples(tmp_path / "again.npz")  # a bundle's samples are a file of samples too
    assert again.fit(describe(model)[0]).labels is not None
