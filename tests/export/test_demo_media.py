"""The page reads files as `mmzoo predict` does: in a real browser, beside Pillow and soundfile."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
from browser import NEEDED, open_browser, opened
from manifests import declared
from PIL import Image

from mmzoo.data import encode_text, read_audio, read_image
from mmzoo.data.media.images import IMAGE_FITS
from mmzoo.export.demo.plan import plan

pytestmark = NEEDED
PHRASE = "clé, ключ 🔑"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page without a model: it tells so, and its modules can be asked all the same."""
    text = {"name": "text", "dtype": "uint8", "shape": [None, None]}
    model = plan(declared({
        "model": "none", "inputs": [text],
        "outputs": [{"name": "probability", "dtype": "float32", "shape": [None, 2]}],
        "samples": {"shapes": {"text": [5]}},
    }, ["a", "b"])) | {"bytes": 0}  # fmt: skip
    artifact = tmp_path_factory.mktemp("media") / "model.onnx"
    artifact.write_bytes(b"no model")
    with open_browser() as made, opened(made, model, artifact):
        assert "The page did not start: " in made.evaluate("mmzoo.fault")
        yield made


def test_pictures_are_read_as_python_reads_them(page):
    rng = np.random.default_rng(0)
    for height, width in [(100, 37), (64, 64), (20, 50), (1, 1), (700, 650)]:
        pixels = rng.integers(0, 256, (height, width, 3)).astype("uint8")
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        for fit in IMAGE_FITS:
            expected = read_image(file.getvalue(), (64, 48), fit)
            code = f"m.fit(v, 64, 48, '{fit}').data"
            found = decoded(page, "readPicture", file.getvalue(), code)
            assert np.abs(np.reshape(found, (64, 48, 3)) - expected.astype(int)).max() <= 1
    corners = np.zeros((40, 24, 3), "uint8")
    corners[:20, :12] = 255
    file, rotated = io.BytesIO(), Image.Exif()
    rotated[0x0112] = 6
    Image.fromarray(corners).save(file, "JPEG", quality=95, exif=rotated)
    found = np.reshape(decoded(page, "readPicture", file.getvalue(), "v.data"), (24, 40, 3))
    assert np.abs(found - read_image(file.getvalue()).astype(int)).max() <= 8
    clear = np.dstack([corners, np.full((40, 24), 128, "uint8")])
    file = io.BytesIO()
    Image.fromarray(clear, "RGBA").save(file, "PNG")
    found = np.reshape(decoded(page, "readPicture", file.getvalue(), "v.data"), (40, 24, 3))
    assert np.abs(found - read_image(file.getvalue()).astype(int)).max() <= 1


def test_sounds_and_texts_are_read_as_python_reads_them(page):
    wave = 0.8 * np.sin(np.arange(4_000) / 9)[:, None] * [1.0, -0.5]
    for rate, kind, limit in [(16_000, "PCM_16", 1e-4), (16_000, "FLOAT", 1e-6)]:
        file = io.BytesIO()
        soundfile.write(file, wave, rate, format="WAV", subtype=kind)
        found = decoded(page, "readSound", file.getvalue(), "v", ", 16000")
        np.testing.assert_allclose(found, read_audio(file.getvalue()), atol=limit)
    file = io.BytesIO()
    soundfile.write(file, wave, 44_100, format="WAV")
    found = decoded(page, "readSound", file.getvalue(), "v", ", 16000")
    expected = read_audio(file.getvalue())
    assert abs(len(found) - len(expected)) <= 1
    inner = slice(50, 1_400)  # away from the ends, which each resampler treats its own way
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.01)
    for length in (1, 2, 3, 4, 12, 17, 18, 40):
        code = f"m.toLength(m.encodeText({json.dumps(PHRASE)}, {length}), {length})"
        found = page.evaluate(f"import('/media.js').then(m => Array.from({code}))")
        assert found == encode_text([PHRASE], length)[0].tolist()


def decoded(page, reader, content, result, more=""):
    """Numbers of a file's content, by a function of the page's own module."""
    data = base64.b64encode(content).decode()
    return page.evaluate(
        "import('/media.js').then(async m => { const bytes = "
        f"Uint8Array.from(atob('{data}'), c => c.charCodeAt(0)); const v = await "
        f"m.{reader}(new File([bytes], 'a'){more}); return Array.from({result}); }})"
    )
