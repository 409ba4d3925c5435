"""The page in a real browser: its answers are onnxruntime's, for every subset of what is given."""

import base64
import functools
import itertools
import json
import re
import signal
import subprocess
import sys

import keras
import numpy as np
import onnxruntime
import pytest
import soundfile
from browser import NEEDED, of, open_browser, opened
from keras import layers
from PIL import Image

from mmzoo.data import concept128, encode_text, read_audio, read_image
from mmzoo.encoders.blocks import MaskedPooling
from mmzoo.encoders.text_encoders import ByteTokens
from mmzoo.export import export_bundle
from mmzoo.export.demo.plan import TOKENS, read_demo
from mmzoo.export.samples.samples import Samples
from mmzoo.fusion.presence import subsets_of
from mmzoo.recipes.concepts import build_model

pytestmark = NEEDED
MODALITIES = ("image", "text", "audio")
PHRASE = "clé, ключ 🔑"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Of an untrained model whose scores are far apart, in ONNX alone."""
    keras.utils.set_random_seed(1)
    _, model = build_model("interactive", kind="scratch")
    for layer in model.layers:
        if isinstance(layer, layers.Dense) and layer.units == 128:
            layer.kernel.assign(5.0 * layer.kernel)
    inputs, labels = concept128.draw_samples("test", 1)
    samples = Samples({name: value[::7] for name, value in inputs.items()}, labels[::7])
    path = tmp_path_factory.mktemp("demo") / "bundle"
    names = concept128.class_names()
    return export_bundle(model, path, formats=("onnx",), samples=samples, classes=names).path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture of the model's size and a recording at its rate: no reader changes a number."""
    folder = tmp_path_factory.mktemp("files")
    inputs, _ = concept128.draw_samples("test", 1)
    Image.fromarray(inputs["image"][1]).save(folder / "image.png")
    soundfile.write(folder / "audio.wav", inputs["audio"][1], 16_000, subtype="FLOAT")
    Image.fromarray(inputs["image"][3]).resize((150, 90)).save(folder / "wide.png")
    (folder / "broken.png").write_bytes((folder / "image.png").read_bytes()[:60])
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture(scope="module")
def browser():
    with open_browser() as made:
        yield made


@pytest.fixture(scope="module")
def address(bundle):
    """Of `mmzoo demo`, which Ctrl-C ends."""
    command = [sys.executable, "-u", "-m", "mmzoo", "demo", str(bundle), "--port", "0", "--no-open"]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        try:
            yield re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline()).group()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[0] == "Stopped.\n"
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.fixture
def page(browser, address):
    browser.open(address)
    browser.wait("mmzoo.ready")
    yield browser
    assert browser.faults == []
    own = (address, "blob:", "data:image/svg")  # the last: the audio player's own symbols
    assert [url for url in browser.asked if not url.startswith(own)] == []


def answer(page, given):
    """What the page answers, once it answers to exactly these modalities."""
    wanted = json.dumps(sorted(given))
    found = f"mmzoo.lastAnswer && JSON.stringify([...mmzoo.lastAnswer.given].sort()) == '{wanted}'"
    page.wait(f"mmzoo.fault || ({found.replace(', ', ',')})")
    assert page.evaluate("mmzoo.fault") == ""
    return page.evaluate("mmzoo.lastAnswer")


def give_text(page, text):
    box = of("text", "textarea")
    page.evaluate(f"{box}.value = {json.dumps(text)}; {box}.dispatchEvent(new Event('input'))")


def give(page, files, given):
    for name, file in (("image", "image.png"), ("audio", "audio.wav")):
        if name in given:
            page.give(f"[data-name={name}] input[type=file]", files / file)
    if "text" in given:
        give_text(page, PHRASE)


def ask(bundle, values):
    """onnxruntime's scores for what is given."""
    model, artifact = read_demo(bundle)
    feeds = {
        "image": np.zeros((1, 64, 64, 3), "uint8"), "text": np.zeros((1, 48), "uint8"),
        "audio": np.zeros((1, 12_800), "float32"),
    } | values  # fmt: skip
    feeds |= {f"{name}_present": np.array([name in values]) for name in MODALITIES}
    return onnxruntime.InferenceSession(str(artifact)).run([model["output"]], feeds)[0][0]


def read(files, image="image.png"):
    return {
        "image": read_image(files / image)[None], "text": encode_text([PHRASE]),
        "audio": read_audio(files / "audio.wav")[None],
    }  # fmt: skip


def test_every_subset_is_answered_as_by_onnxruntime(page, bundle, files, address):
    values = read(files)
    expected = {
        given: ask(bundle, {name: values[name] for name in given})
        for given in [(), *subsets_of(MODALITIES)]
    }
    for one, other in itertools.combinations(expected.values(), 2):
        assert np.abs(one - other).max() > 0.01  # else a wrong subset would go unseen
    for given in subsets_of(MODALITIES):
        page.open(f"{address}?{'+'.join(given)}")
        page.wait("mmzoo.ready")
        give(page, files, given)
        found = answer(page, given)
        np.testing.assert_allclose(found["scores"], expected[given], atol=1e-4)
        top = int(expected[given].argmax())
        shown = page.evaluate("document.querySelector('#classes').innerText").split("\n")
        assert shown[0] == concept128.class_names()[top] and len(shown) == 10
        score = found["scores"][top]
        assert shown[1] == (f"{score:.1%}".replace("%", " %") if score < 0.9995 else "> 99.9 %")

        # Shapley's other formula: the mean over all orders in which the inputs may come.
        parts = dict.fromkeys(given, 0.0)
        orders = list(itertools.permutations(given))
        for order in orders:
            for k, name in enumerate(order):
                before, after = (
                    expected[tuple(n for n in MODALITIES if n in order[:end])] for end in (k, k + 1)
                )
                parts[name] += float(np.log(after[top] / before[top])) / len(orders)
        assert found["weights"]["parts"] == pytest.approx(parts, abs=1e-3)
        shares = {n: part / sum(map(abs, parts.values())) for n, part in parts.items()}
        assert found["weights"]["shares"] == pytest.approx(shares, abs=1e-3)
        for name in given:
            line = page.evaluate(f"document.querySelector('#weights [data-name={name}]').innerText")
            share = 100 * found["weights"]["shares"][name]
            assert f"{'−' if share < 0 else '+'}{abs(share):.0f} %" in line
            alone = f"Alone: {concept128.class_names()[expected[name,].argmax()]}, "
            assert (alone in line) == (len(given) > 1)


def test_what_is_removed_is_absent(page, bundle, files):
    give(page, files, MODALITIES)
    answer(page, MODALITIES)
    values = read(files)
    for name in MODALITIES:
        page.evaluate(of(name, ".remove") + ".click()")
        del values[name]
        if values:
            found = answer(page, tuple(values))
            np.testing.assert_allclose(found["scores"], ask(bundle, values), atol=1e-4)
    page.wait("!mmzoo.busy && !mmzoo.lastAnswer")
    assert page.evaluate("document.querySelector('#status').innerText").startswith("Ready.")


def test_a_picture_is_fitted_or_keeps_its_own_size(page, bundle, files):
    page.give("[data-name=image] input[type=file]", files / "wide.png")
    fitted = answer(page, ("image",))
    assert "150 × 90 to 64 × 64" in page.evaluate(of("image", ".hint") + ".innerText")
    expected = ask(bundle, {"image": read_image(files / "wide.png", (64, 64))[None]})
    np.testing.assert_allclose(fitted["scores"], expected, atol=0.02)  # a pixel may be 1 off
    page.evaluate(of("image", ".option input") + ".click()")
    page.wait(f"{of('image', '.hint')}.innerText == '150 × 90 pixels, as they are.'")
    own = answer(page, ("image",))
    expected = ask(bundle, {"image": read_image(files / "wide.png")[None]})
    np.testing.assert_allclose(own["scores"], expected, atol=1e-4)
    assert np.abs(np.subtract(own["scores"], fitted["scores"])).max() > 1e-3


def test_files_that_nobody_reads_are_told(page, files):
    for name, file, words in [
        ("image", "broken.png", "broken.png is no picture that this browser reads."),
        ("audio", "broken.wav", "broken.wav is no sound that this browser reads."),
    ]:
        page.give(f"[data-name={name}] input[type=file]", files / file)
        page.wait(f"{of(name, '.hint')}.innerText == {json.dumps(words)}")
        assert page.evaluate(of(name, ".hint") + ".getAttribute('role')") == "alert"
    assert page.evaluate("mmzoo.lastAnswer") is None


def test_a_file_is_dropped_and_a_sound_recorded(page, bundle, files):
    data = base64.b64encode((files / "image.png").read_bytes()).decode()
    page.evaluate(
        f"(() => {{ const bytes = Uint8Array.from(atob('{data}'), c => c.charCodeAt(0));"
        "const dataTransfer = new DataTransfer();"
        "dataTransfer.items.add(new File([bytes], 'a.png', {type: 'image/png'}));"
        "document.querySelector('[data-name=text]').dispatchEvent(new DragEvent('drop',"
        "{dataTransfer, bubbles: true, cancelable: true})); })()"
    )
    found = answer(page, ("image",))  # a text takes no file: the first card that does has it
    values = {"image": read_image(files / "image.png")[None]}
    np.testing.assert_allclose(found["scores"], ask(bundle, values), atol=1e-4)
    record = of("audio", ".record")
    page.evaluate(f"{record}.click()")
    page.wait(f"{record}.getAttribute('aria-pressed') == 'true'")
    assert page.evaluate(of("audio", ".hint") + ".innerText") == "Recording, for 10 s at most."
    page.evaluate("new Promise(done => setTimeout(done, 700))")
    page.evaluate(f"{record}.click()")
    answer(page, ("image", "audio"))
    assert re.match(r"\d\.\d\d s at 16 kHz", page.evaluate(of("audio", ".hint") + ".innerText"))
    assert page.evaluate(f"{record}.getAttribute('aria-pressed')") == "false"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_it_fits_the_window_and_has_a_name_for_everything(page, files, tmp_path, width, dark):
    page.look(width, 844, dark)
    try:
        give(page, files, MODALITIES)
        answer(page, MODALITIES)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        targets = page.evaluate(
            "[...document.querySelectorAll('button, .button, textarea, .option')]"
            ".filter(e => e.offsetParent).map(e => [e.offsetWidth, e.offsetHeight])"
        )
        assert len(targets) >= 8 and all(min(size) >= 44 for size in targets)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        page.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as picture:
            assert picture.width == width and len(picture.convert("RGB").getcolors(10**6)) > 200
    finally:
        page.look(1280)
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "textbox", "checkbox")
    named = [
        node["name"]["value"] for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles
    ]  # fmt: skip
    assert len(named) >= 8 and all(named)
    for name in ("Choose a picture", "Text", "Record", "Remove the sound", "Keep its own size"):
        assert name in named


def test_a_text_that_needs_a_tokenizer_is_closed(browser, bundle):
    model, artifact = read_demo(bundle)
    next(m for m in model["modalities"] if m["name"] == "text")["closed"] = TOKENS
    with opened(browser, model, artifact):
        assert browser.evaluate(of("text", "textarea") + ".disabled")
        assert "no tokenizer" in browser.evaluate(of("text", ".hint") + ".innerText")
        assert not browser.evaluate(of("audio", "input") + ".disabled")


def test_scores_that_are_no_probabilities_and_inputs_that_are_always_there(browser, tmp_path):
    keras.utils.set_random_seed(0)
    text = keras.Input((None,), dtype="uint8", name="text")
    ids, mask = ByteTokens(name="bytes")(text)
    pooled = MaskedPooling()(layers.Embedding(256, 6, name="table")(ids), mask)
    scores = layers.Dense(3, name="classify", bias_initializer="normal")(pooled)
    model = keras.Model({"text": text}, {"logits": scores}, name="words")
    samples = Samples({"text": encode_text(["one", "three"] * 9)}, np.arange(18) % 3)
    path = tmp_path / "bundle"
    export_bundle(model, path, formats=("onnx",), samples=samples, classes=["<i>", "b", "c"])
    told, artifact = read_demo(path)
    with opened(browser, told | {"name": "<b>words"}, artifact):
        assert browser.evaluate("document.querySelector('h1').innerText") == "<b>words"
        assert browser.evaluate("document.querySelectorAll('.card').length") == 1
        assert browser.evaluate("document.querySelector('#status').innerText") == (
            "The model needs text too."
        )
        give_text(browser, "two")
        found = answer(browser, ("text",))
        session = onnxruntime.InferenceSession(str(artifact))
        expected = session.run(["logits"], {"text": encode_text(["two"])})[0][0]
        np.testing.assert_allclose(found["scores"], expected, atol=1e-5)
        assert found["weights"] is None
        assert "no presence inputs" in browser.evaluate("document.body.innerText")
        shown = browser.evaluate("document.querySelector('#classes').innerText").split("\n")
        assert shown[0] == ["<i>", "b", "c"][expected.argmax()] and "%" not in "".join(shown)
