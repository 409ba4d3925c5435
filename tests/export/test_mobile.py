"""What phones get: metadata in TFLite files, a class in Kotlin, compiled and run, one in Swift."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tree_sitter
import tree_sitter_kotlin
import tree_sitter_swift
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import encode, number_types, table
from manifests import declared

from mmzoo.data.media.images import IMAGE_FITS
from mmzoo.export.convert.tflite_metadata import put_metadata
from mmzoo.export.convert.tflite_writer import write_tflite
from mmzoo.export.convert.variants import write_variant
from mmzoo.export.deploy.phones import kotlin_string, swift_string, write_mobile
from mmzoo.export.runtimes.litert import Runtime
from mmzoo.export.samples.samples import Samples
from mmzoo.export.surgery.model_description import describe
from mmzoo.fusion import HideAbsent, presence_inputs

KOTLIN = "2.4.20"
ANDROID = Path(__file__).parent / "android"
LANGUAGES = {"Mmzoo.kt": tree_sitter_kotlin, "Mmzoo.swift": tree_sitter_swift}


def build():
    """Picture, text and sound, any of them absent, numbers and an id; scores and a vector."""
    inputs = {
        "image": keras.Input((None, None, 3), dtype="uint8", name="image"),
        "text": keras.Input((None,), dtype="uint8", name="text"),
        "audio": keras.Input((None,), name="audio"),
    }
    presence = presence_inputs(list(inputs))
    seen = HideAbsent()(inputs, presence)
    more = {
        "grid": keras.Input((2, 3), name="grid"),
        "numbers": keras.Input((4,), name="numbers"),
        "id": keras.Input((), dtype="int32", name="id"),
    }
    ops = keras.ops
    parts = [
        ops.mean(ops.cast(seen["image"], "float32"), (1, 2)),
        ops.sum(ops.cast(seen["text"], "float32"), 1, keepdims=True) / 100.0,
        ops.sum(seen["audio"], 1, keepdims=True),
        ops.reshape(more["grid"], (-1, 6)), more["numbers"],
        ops.expand_dims(ops.cast(more["id"], "float32"), 1),
    ]  # fmt: skip
    x = keras.layers.Dense(8, "tanh")(ops.concatenate(parts, 1))
    outputs = {
        "probability": keras.layers.Dense(3, "softmax", name="probability")(x),
        "chance": ops.sigmoid(ops.sum(x, 1)),
    }
    taken = {t.name: t for t in (*inputs.values(), *more.values(), *presence.values())}
    return keras.Model(taken, outputs, name="phone")


CLASSES = ["red", "green", "blue"]


def manifest_of(model, **entries):
    inputs, outputs = describe(model)
    shapes = {"image": [6, 4, 3], "text": [5], "audio": [9], "grid": [2, 3], "numbers": [4]}
    manifest = {
        "mmzoo": "1.0", "model": model.name,
        "inputs": [t.to_json() for t in inputs], "outputs": [t.to_json() for t in outputs],
        "samples": {"shapes": {t.name: shapes.get(t.name, []) for t in inputs}},
        "formats": {"tflite": {"path": "tflite/model.tflite"}}, **entries,
    }  # fmt: skip
    return declared(manifest, CLASSES, "none")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Its folder, its manifest, and the files as they were before."""
    folder = tmp_path_factory.mktemp("mobile")
    keras.utils.set_random_seed(0)
    model = build()
    manifest = manifest_of(model)
    (folder / "tflite").mkdir()
    (folder / "tflite-float16").mkdir()
    plain = write_tflite(model, folder / "tflite/model.tflite")
    write_variant("tflite-float16", folder, model, Samples(values(20)), None, ())
    before = {}
    for name in ("tflite", "tflite-float16"):
        path = folder / name / "model.tflite"
        before[name] = folder / f"{name}.before"
        shutil.copy(path, before[name])
        put_metadata(path, manifest)
    write_mobile(folder, manifest)
    assert plain.exists()
    return folder, manifest, before


def values(count=2):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (count, 6, 4, 3)).astype("uint8"),
        "text": rng.integers(1, 256, (count, 5)).astype("uint8"),
        "audio": rng.standard_normal((count, 9)).astype("float32"),
        "grid": rng.standard_normal((count, 2, 3)).astype("float32"),
        "numbers": rng.standard_normal((count, 4)).astype("float32"),
        "id": np.arange(count, dtype="int32"),
        **{f"{m}_present": np.arange(count) % 2 == 0 for m in ("image", "text", "audio")},
    }


@pytest.mark.parametrize("name", ["tflite", "tflite-float16"])
def test_metadata_changes_no_answer_and_leaves_the_weights_aligned(exported, name):
    folder, _, before = exported
    path = folder / name / "model.tflite"
    found = [Runtime(each, "portable").run(values()) for each in (before[name], path)]
    for output in ("probability", "chance"):
        np.testing.assert_array_equal(found[0][output], found[1][output])
    content = path.read_bytes()
    model = schema.Model.GetRootAsModel(content, 0)
    for k in range(model.BuffersLength()):
        buffer = model.Buffers(k)
        if buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


class Reader:
    """A table of a flatbuffer of which only the numbers of the fields are known."""

    def __init__(self, content, place=None):
        self.content = content
        place = encode.Get(number_types.UOffsetTFlags.packer_type, content, 0) if place is None \
            else place  # fmt: skip
        self.table = table.Table(content, place)

    def text(self, field):
        place = self.table.Offset(4 + 2 * field)
        return self.table.String(place + self.table.Pos).decode() if place else None

    def number(self, field, flags):
        place = self.table.Offset(4 + 2 * field)
        return self.table.Get(flags, place + self.table.Pos) if place else 0

    def child(self, field):
        place = self.table.Offset(4 + 2 * field)
        return Reader(self.content, self.table.Indirect(place + self.table.Pos)) if place else None

    def children(self, field):
        place = self.table.Offset(4 + 2 * field)
        start, count = self.table.Vector(place), self.table.VectorLen(place)
        return [Reader(self.content, self.table.Indirect(start + 4 * k)) for k in range(count)]

    def floats(self, field):
        place = self.table.Offset(4 + 2 * field)
        start, count = self.table.Vector(place), self.table.VectorLen(place)
        return [self.table.Get(number_types.Float32Flags, start + 4 * k) for k in range(count)]


def test_metadata_says_what_the_manifest_says(exported):
    folder, manifest, _ = exported
    path = folder / "tflite" / "model.tflite"
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    [entry] = [each for each in model.metadata if each.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    root = Reader(content)
    assert root.text(0) == "phone" and root.text(7) == "1.3.0"
    [subgraph] = root.children(3)
    taken, given = subgraph.children(2), subgraph.children(3)
    # In the order of the file's own tensors.
    runtime = {t.tensorIndex: t.name.decode() for t in model.signatureDefs[0].inputs}
    assert [t.text(0) for t in taken] == [runtime[k] for k in model.subgraphs[0].inputs]
    by_name = {t.text(0): t for t in (*taken, *given)}
    assert set(by_name) == {t["name"] for s in ("inputs", "outputs") for t in manifest[s]}
    kinds = {name: t.child(3).number(0, number_types.Uint8Flags) for name, t in by_name.items()}
    assert kinds["image"] == 2 and kinds["audio"] == 4
    assert kinds["text"] == kinds["numbers"] == kinds["probability"] == 1
    sound = by_name["audio"].child(3).child(1)
    assert [sound.number(k, number_types.Uint32Flags) for k in range(2)] == [16_000, 1]
    assert by_name["image"].child(3).child(1).number(0, number_types.Int8Flags) == 1  # RGB
    stats = by_name["audio"].child(5)
    assert (stats.floats(1), stats.floats(0)) == ([-1.0], [1.0])
    assert by_name["image_present"].text(1) == "Whether image is there."
    [labels] = by_name["probability"].children(6)
    assert labels.text(0) == "labels.txt" and labels.number(2, number_types.Int8Flags) == 2
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split() == CLASSES


@pytest.mark.parametrize("file", LANGUAGES)
def test_the_code_parses_and_names_every_tensor(exported, file):
    folder, manifest, _ = exported
    text = (folder / "mobile" / file).read_text()
    language = tree_sitter.Language(LANGUAGES[file].language())
    assert not tree_sitter.Parser(language).parse(text.encode()).root_node.has_error
    assert (
        tree_sitter.Parser(language).parse(text.replace("{", "(", 1).encode()).root_node.has_error
    )
    for side in ("inputs", "outputs"):
        for tensor in manifest[side]:
            assert f'"{tensor["name"]}"' in text
    runtime = Runtime(folder / "tflite/model.tflite", "portable")
    assert set(runtime.inputs) == {tensor["name"] for tensor in manifest["inputs"]}
    assert (folder / "mobile/labels.txt").read_text().split() == CLASSES


def write_fits(folder, manifest):
    """The classes of a bundle a fit, each in its folder."""
    for fit in IMAGE_FITS:
        (folder / fit).mkdir()
        write_mobile(folder / fit, declared(manifest, CLASSES, fit, (6, 4)))
        yield fit, folder / fit / "mobile"


def test_the_classes_bring_pictures_to_size_as_the_manifest_says(exported, tmp_path):
    own = {"pad": "coerceIn(1, height)", "crop": "createBitmap(", "stretch": "width, height, true"}
    for fit, folder in write_fits(tmp_path, exported[1]):
        for file, language in LANGUAGES.items():
            text = (folder / file).read_text()
            parser = tree_sitter.Parser(tree_sitter.Language(language.language()))
            assert not parser.parse(text.encode()).root_node.has_error, (fit, file)
            assert f'by the way "{fit}"' in text and ", 6, 4)" in text
        text = (folder / "Mmzoo.kt").read_text()
        assert own[fit] in text and "of another size, " in text
        swift = (folder / "Mmzoo.swift").read_text()
        assert ("cropping(to:" in swift) is (fit == "crop")
        assert ("toNearestOrEven" in swift) is (fit == "pad")


def test_strings_are_escaped():
    assert kotlin_string('a"$b\\\n') == '"a\\"\\$b\\\\\\n"'
    assert swift_string('a"$b\\\n') == '"a\\"$b\\\\\\n"'


def test_a_bundle_without_such_a_file_has_no_code(tmp_path):
    model = build()
    for formats in ({}, {"onnx": {"path": "onnx/model.onnx"}}, {"tflite-batch1": {"path": "x"}}):
        write_mobile(tmp_path, manifest_of(model, formats=formats))
    free = manifest_of(model)
    free["outputs"] = [t | {"shape": [None, None]} for t in free["outputs"]]
    write_mobile(tmp_path, free)
    assert list(tmp_path.iterdir()) == []


def kotlin_compiler():
    """The compiler's folder, fetched once from the npm registry."""
    cache = Path(os.environ.get("MMZOO_KOTLIN") or Path.home() / ".cache" / "mmzoo" / "kotlin")
    folder = cache / KOTLIN
    for tool in ("npm", "java"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed: the Kotlin class is parsed, not compiled")
    if not folder.exists():
        from mmzoo.io.files import atomic_write

        cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder) as place:
            place.mkdir()
            done = subprocess.run(["npm", "pack", f"kotlin-compiler@{KOTLIN}"], cwd=place,
                                  capture_output=True, text=True, check=False)  # fmt: skip
            if done.returncode:
                pytest.skip(f"npm has no Kotlin compiler here: {done.stderr[-200:]}")
            shutil.unpack_archive(next(place.glob("*.tgz")), place, filter="data")
            next(place.glob("*.tgz")).unlink()
    return folder / "package"


FITS_MAIN = """
import android.graphics.Bitmap
fun show(name: String, rows: Array<Array<ByteArray>>) =
    println(name + " " + rows.flatten().joinToString(",") { it.joinToString(",") })
fun main() {
    for ((w, h) in listOf(20 to 5, 7 to 30, 4 to 6, 1 to 9, 5 to 5)) {
        val picture = Bitmap(w, h) { x, y -> (255 shl 24) or (x shl 16) or (y shl 8) or 77 }
        show("stretch $w $h", mmzoo.stretch.Mmzoo.pixels(picture, 6, 4))
        show("pad $w $h", mmzoo.pad.Mmzoo.pixels(picture, 6, 4))
        show("crop $w $h", mmzoo.crop.Mmzoo.pixels(picture, 6, 4))
    }
}
"""


def nearest(pixels, height, width):
    lines, columns = np.arange(height), np.arange(width)
    return pixels[lines * len(pixels) // height][:, columns * pixels.shape[1] // width]


def brought(pixels, fit, height=6, width=4):
    """What `read_image` does, with the nearest pixel in place of bilinear scaling."""
    lines, columns = pixels.shape[:2]
    if fit == "pad":
        scale = min(height / lines, width / columns)
        inner = [min(most, max(1, round(side * scale)))
                 for side, most in ((lines, height), (columns, width))]  # fmt: skip
        out = np.full((height, width, 3), 255)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        out[top : top + inner[0], left : left + inner[1]] = nearest(pixels, *inner)
        return out
    if fit == "crop":
        tall = min(lines, max(1, columns * height // width))
        wide = min(columns, max(1, lines * width // height))
        top, left = (lines - tall) // 2, (columns - wide) // 2
        pixels = pixels[top : top + tall, left : left + wide]
    return nearest(pixels, height, width)


@pytest.mark.slow
def test_the_kotlin_class_brings_pictures_to_size(exported, tmp_path):
    compiler = kotlin_compiler()
    sources = []
    for fit, folder in write_fits(tmp_path, exported[1]):
        sources.append(tmp_path / f"{fit}.kt")
        text = (folder / "Mmzoo.kt").read_text().replace("package mmzoo", f"package mmzoo.{fit}")
        sources[-1].write_text(text)
    (tmp_path / "Fits.kt").write_text(FITS_MAIN)
    others = [path for path in ANDROID.glob("*.kt") if "fun main(" not in path.read_text()]
    subprocess.run(
        ["bash", compiler / "bin/kotlinc", "-nowarn", "-include-runtime", "-d", tmp_path / "a.jar",
         *sources, tmp_path / "Fits.kt", *others], check=True, timeout=300,
    )  # fmt: skip
    done = subprocess.run(["java", "-cp", tmp_path / "a.jar", "FitsKt"], text=True,
                          capture_output=True, check=True, timeout=300)  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 15
    for line in lines:
        fit, width, height, values = line.split(" ")
        y, x = np.mgrid[: int(height), : int(width)]
        expected = brought(np.stack([x, y, np.full_like(x, 77)], -1), fit)
        found = np.array(values.split(","), int).reshape(6, 4, 3) % 256
        np.testing.assert_array_equal(found, expected, err_msg=line)


@pytest.mark.slow
def test_the_kotlin_class_compiles_and_binds_by_name(exported, tmp_path):
    """Against stand-ins for Android and LiteRT, which say what they are given."""
    folder, manifest, _ = exported
    compiler = kotlin_compiler()
    shutil.copy(folder / "tflite/model.tflite", tmp_path)
    shutil.copy(folder / "mobile/labels.txt", tmp_path)
    subprocess.run(
        ["bash", compiler / "bin/kotlinc", "-nowarn", "-include-runtime", "-d", tmp_path / "a.jar",
         folder / "mobile/Mmzoo.kt", *ANDROID.glob("*.kt")], check=True, timeout=300,
    )  # fmt: skip
    names = ",".join(tensor["name"] for tensor in manifest["inputs"])

    def run(inputs):
        return subprocess.run(
            ["java", "-cp", tmp_path / "a.jar", "MainKt", tmp_path], text=True,
            capture_output=True, env={**os.environ, "SIGNATURE_INPUTS": inputs}, timeout=300,
        )  # fmt: skip

    done = run(names)
    assert done.returncode == 0, done.stderr
    head, *calls = done.stdout.split("---\n")
    first, second, third = head.partition("\n")[2], calls[0].partition("\n")[2], calls[1]
    lines = [
        dict(line.split(" ", 1) for line in call.splitlines() if line[0] != "-")
        for call in (first, second, third)
    ]
    assert head.startswith("red,green,blue\n") and calls[0].startswith("3 0.5\n")
    every = {t["name"] for t in manifest["inputs"]}
    assert all(set(call) == every for call in lines)
    whole, silent, loud = lines
    assert whole["image"] == "byte [1, 7, 5, 3] [-29, -79, 127]"  # half of (200, 100, 0) on white
    assert whole["text"] == "byte [1, 3] [110, -61, -87]"
    assert whole["audio"] == "float [1, 3] [0.25, -1.0, 1.0]"
    assert whole["grid"].startswith("float [1, 2, 3]") and whole["id"] == "int [1] [7]"
    assert {whole[f"{m}_present"] for m in ("image", "text", "audio")} == {"boolean [1] [true]"}
    assert silent["text"] == "byte [1, 1] [0]" and silent["text_present"] == "boolean [1] [true]"
    assert silent["image"] == "byte [1, 6, 4, 3] [0, 0, 0]"
    assert silent["image_present"] == silent["audio_present"] == "boolean [1] [false]"
    assert loud["audio"] == "float [1, 1] [0.0]" and loud["text"] == "byte [1, 5] [0, 0, 0, 0]"
    refused = run(names.replace("grid", "other"))
    assert refused.returncode and "Expected a model of the inputs" in refused.stderr
