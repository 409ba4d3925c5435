"""Builds the Concept-128 asset in `mmzoo/data/concept128/`.

The only place that knows where Concept-128 comes from. Icons and phrases come from
npm packages, fetched by name with `npm pack`; speech is synthesised by espeak-ng.

Run:
    python3 -m venv build/concepts
    build/concepts/bin/pip install -r tools/requirements-concepts.txt
    build/concepts/bin/python tools/build_concepts.py

Expect: about a minute, then 1 MB of icons, 0.1 MB of phrases, under 8 MB of speech, and
a `SHA256SUMS` that covers them. Two runs give the same samples (`speech_sha256` in
`index.json`); only the serial number in the Ogg pages differs.
"""

import argparse
import ctypes
import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import espeakng_loader
import numpy as np
import resvg_py
import soundfile
import soxr
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
ASSET = ROOT / "mmzoo" / "data" / "concept128"
SAMPLE_RATE = 16_000
IMAGE_SIZE = 64

ICON_SETS = {
    "noto": "1.2.9",
    "noto-v1": "1.2.5",
    "fxemoji": "1.2.2",
    "twemoji": "1.2.5",
    "streamline-emojis": "1.2.4",
    "emojione": "1.2.3",
    "fluent-emoji": "1.2.7",
    "fluent-emoji-flat": "1.2.6",
}
EMOJIBASE = "17.0.0"

# Older sets name an emoji by the label it had then. Same code point, older name.
FORMER_NAMES = {
    "bear": "bear-face",
    "eggplant": "aubergine",
    "fox": "fox-face",
    "frog": "frog-face",
    "lion": "lion-face",
    "minus": "heavy-minus-sign",
    "plus": "heavy-plus-sign",
    "santa-claus": "father-christmas",
    "speech-balloon": "speech-bubble",
    "sun": "sun-rays",
    "white-flag": "waving-white-flag",
}

# Splits are by source: no vendor, language (of text) or voice stands in two of them.
SPLITS = {
    "train": {
        "image": ["noto", "noto-v1", "fxemoji", "twemoji", "streamline-emojis"],
        "text": ["en", "fr", "es", "ru", "pt", "pl"],
        "text_tags": True,
        "audio": ["m1", "m2", "m3", "m4", "f1", "f2"],
        "noise_db": [0.0, 20.0],
    },
    "validation": {
        "image": ["emojione"],
        "text": ["sv", "uk"],
        "text_tags": False,
        "audio": ["m5", "f3"],
        "noise_db": [5.0, 5.0],
    },
    "test": {
        "image": ["fluent-emoji", "fluent-emoji-flat"],
        "text": ["de", "it", "nl", "ja", "da", "hu"],
        "text_tags": False,
        "audio": ["m6", "m7", "f4", "f5"],
        "noise_db": [5.0, 5.0],
    },
}
SPEECH_LANGUAGES = ["en", "fr", "es", "ru"]


def slug(text):
    ascii_text = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")


def npm_package(name, version, folder):
    """Fetches and unpacks one npm package; returns its folder."""
    target = Path(folder) / name.replace("/", "-")
    target.mkdir(parents=True)
    printed = subprocess.run(
        ["npm", "pack", "--silent", f"{name}@{version}"],
        cwd=target, check=True, capture_output=True, text=True,
    )  # fmt: skip
    with tarfile.open(target / printed.stdout.split()[-1]) as archive:
        archive.extractall(target, filter="data")
    return target / "package"


def render(svg):
    """One SVG to a palette PNG of 64 x 64 pixels on white; returns its bytes."""
    png = resvg_py.svg_to_bytes(
        svg_string=svg, background="#ffffff", width=IMAGE_SIZE, height=IMAGE_SIZE,
        skip_system_fonts=True,
    )  # fmt: skip
    image = Image.open(io.BytesIO(bytes(png))).convert("RGB").quantize(64, dither=0)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()


def build_images(concepts, folder):
    """Returns {"vendor/concept[.k].png": PNG bytes}."""
    images = {}
    for vendor, version in ICON_SETS.items():
        package = npm_package(f"@iconify-json/{vendor}", version, folder)
        data = json.loads((package / "icons.json").read_text())
        names = {}
        for name in sorted(set(data["icons"]) | set(data.get("aliases", {}))):
            names.setdefault(name.replace("-", ""), name)
        for concept in concepts:
            suffixes = ("", "1", "2", "3") if vendor == "streamline-emojis" else ("",)
            for name in (concept, FORMER_NAMES.get(concept, concept)):
                keys = [name.replace("-", "") + suffix for suffix in suffixes]
                found = [names[key] for key in keys if key in names]
                if found:
                    break
            for k, name in enumerate(found):
                icon = data["icons"].get(name) or data["icons"][data["aliases"][name]["parent"]]
                width = icon.get("width", data.get("width", 16))
                height = icon.get("height", data.get("height", 16))
                left, top = icon.get("left", 0), icon.get("top", 0)
                svg = (
                    '<svg xmlns="http://www.w3.org/2000/svg" '
                    'xmlns:xlink="http://www.w3.org/1999/xlink" '
                    f'width="{IMAGE_SIZE}" height="{IMAGE_SIZE}" '
                    f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
                )
                suffix = f".{k + 1}" if k else ""
                images[f"{vendor}/{concept}{suffix}.png"] = render(svg)
    return images


def build_texts(concepts, folder):
    """Returns {language: {concept: [label, tag, ...]}}."""
    package = npm_package("emojibase-data", EMOJIBASE, folder)
    english = json.loads((package / "en" / "data.json").read_text())
    hexcode = {}
    for emoji in english:
        hexcode.setdefault(slug(emoji["label"]), emoji["hexcode"])
    texts = {}
    for path in sorted(package.glob("*/compact.json")):
        rows = {row["hexcode"]: row for row in json.loads(path.read_text())}
        texts[path.parent.name] = {
            concept: list(dict.fromkeys([row["label"], *row.get("tags", [])]))
            for concept in concepts
            if (row := rows.get(hexcode[concept])) is not None
        }
    return texts


class Espeak:
    """The few calls of the espeak-ng library that we need, by ctypes."""

    SYNCHRONOUS, CHARS_UTF8, RATE, PITCH = 2, 1, 1, 3

    def __init__(self):
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, data, 0)
        self.chunks = []
        callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self.callback = callback(self._receive)  # kept: ctypes does not
        self.library.espeak_SetSynthCallback(self.callback)
        unsigned, pointer = ctypes.c_uint, ctypes.c_void_p
        self.library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, unsigned, ctypes.c_int, unsigned, unsigned,
            pointer, pointer,
        ]  # fmt: skip

    def _receive(self, samples, count, _):
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text, voice, rate, pitch):
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}.")
        self.library.espeak_SetParameter(self.RATE, int(rate), 0)
        self.library.espeak_SetParameter(self.PITCH, int(pitch), 0)
        self.library.espeak_ng_SetRandSeed(1)  # breath noise is drawn from it
        self.chunks = []
        data = text.encode()
        self.library.espeak_Synth(data, len(data) + 1, 0, 0, 0, self.CHARS_UTF8, None, None)
        return np.concatenate(self.chunks).astype("float32") / 32768.0


def trim(waveform, threshold=0.02, margin=80):
    """Cuts silence at both ends (threshold relative to the peak, margin in samples)."""
    loud = np.flatnonzero(np.abs(waveform) > threshold * np.abs(waveform).max())
    return waveform[max(loud[0] - margin, 0) : loud[-1] + margin]


def build_speech(concepts, texts):
    """Returns one waveform of all clips, and the clips' lengths in samples by voice."""
    espeak, rng = Espeak(), np.random.default_rng(128)
    clips, lengths = [], {}
    for voice in [voice for split in SPLITS.values() for voice in split["audio"]]:
        for language in SPEECH_LANGUAGES:
            lengths[f"{language}+{voice}"] = []
            for concept in concepts:
                waveform = espeak.speak(
                    texts[language][concept][0], f"{language}+{voice}",
                    rate=rng.integers(200, 301), pitch=rng.integers(30, 71),
                )  # fmt: skip
                waveform = trim(soxr.resample(waveform, espeak.sample_rate, SAMPLE_RATE))
                waveform *= 0.5 / np.abs(waveform).max()
                clips.append(waveform)
                lengths[f"{language}+{voice}"].append(len(waveform))
    return np.concatenate(clips), lengths


def write(path, data):
    path.write_bytes(data)
    return f"{hashlib.sha256(data).hexdigest()}  {path.name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ASSET)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    concepts = json.loads((ROOT / "tools" / "concept128_classes.json").read_text())["concepts"]
    with tempfile.TemporaryDirectory() as folder:
        images = build_images(concepts, folder)
        texts = build_texts(concepts, folder)
    speech, lengths = build_speech(concepts, texts)

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name in sorted(images):  # ZipInfo's default date keeps the bytes the same
            zipped.writestr(zipfile.ZipInfo(name), images[name])
    ogg = io.BytesIO()
    with soundfile.SoundFile(
        ogg, "w", SAMPLE_RATE, 1, subtype="VORBIS", format="OGG", compression_level=1.0
    ) as file:
        for start in range(0, len(speech), 1 << 16):
            file.write(speech[start : start + (1 << 16)])
    index = {
        "concepts": concepts,
        "splits": SPLITS,
        "speech_languages": SPEECH_LANGUAGES,
        "speech_sample_rate": SAMPLE_RATE,
        "speech_lengths": lengths,
        "speech_sha256": hashlib.sha256(np.int16(speech * 32767).tobytes()).hexdigest(),
    }
    packed = gzip.compress(json.dumps(texts, ensure_ascii=False).encode(), 9, mtime=0)
    sums = [
        write(out / "images.zip", archive.getvalue()),
        write(out / "texts.json.gz", packed),
        write(out / "speech.ogg", ogg.getvalue()),
        write(out / "index.json", json.dumps(index, separators=(",", ":")).encode()),
    ]
    (out / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    phrases = sum(len(p) for rows in texts.values() for p in rows.values())
    clips = sum(len(n) for n in lengths.values())
    print(f"{len(images)} images, {phrases} phrases, {clips} clips, {len(speech) / 16e3:.0f} s")
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size:>9,} {path.name}")


if __name__ == "__main__":
    main()
