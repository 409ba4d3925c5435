"""Concept-128: pictures, phrases and speech for 128 everyday concepts, embedded.

Split by source, never at random: no icon vendor, text language or voice stands in two
splits. See `NOTICE` for the sources and their licences, `tools/build_concepts.py` for how
the asset is made.
"""

import dataclasses
import functools
import gzip
import hashlib
import io
import json
import unicodedata
import zipfile
from pathlib import Path

import numpy as np

from mmzoo.data.text import encode_text

ASSET = Path(__file__).parent
SPLITS = ("train", "validation", "test")
MODALITIES = ("image", "text", "audio")
IMAGE_SIZE = 64  # pixels
SAMPLE_RATE = 16_000  # Hz
TEXT_BYTES = 48  # the longest label has 44; longer tags are cut
AUDIO_SAMPLES = 12_800  # 0.8 s; longer clips are cut


@dataclasses.dataclass(frozen=True)
class Sources:
    """Everything one split may draw from, in memory, sorted by class.

    Attributes:
        images: uint8 `(images, 64, 64, 3)`, RGB.
        phrases: uint8 `(phrases, 48)`, UTF-8 bytes, zero padded.
        speech: int16 `(samples,)`, all clips one after the other, 16 kHz.
        clip_starts: int32 `(clips,)`, in samples.
        clip_lengths: int32 `(clips,)`, in samples.
        first: Dict of modality to int32 `(classes,)`: where a class begins among the items of
            that modality.
        count: Dict of modality to int32 `(classes,)`: how many items a class has (0 where a
            source lacks it).
        noise_db: `(low, high)`, the range of signal-to-noise ratios in dB.
    """

    images: np.ndarray
    phrases: np.ndarray
    speech: np.ndarray
    clip_starts: np.ndarray
    clip_lengths: np.ndarray
    first: dict
    count: dict
    noise_db: tuple


@functools.cache
def _index():
    return json.loads((ASSET / "index.json").read_text())


def class_names() -> list[str]:
    """The 128 concepts in label order."""
    return list(_index()["concepts"])


def split_sources() -> dict[str, dict[str, list[str]]]:
    """Names of what each split draws from: split to modality to vendors, languages, voices."""
    splits = _index()["splits"]
    return {split: {m: list(rule[m]) for m in MODALITIES} for split, rule in splits.items()}


def checksum() -> str:
    """SHA-256 (hex) of the asset's `SHA256SUMS`: names the exact data of a run."""
    return hashlib.sha256((ASSET / "SHA256SUMS").read_bytes()).hexdigest()


def verify_asset() -> None:
    """Checks every file of the asset against `SHA256SUMS`.

    Raises:
        ValueError: If a file is missing or differs, named.
    """
    for line in (ASSET / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split()
        path = ASSET / name
        actual = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no file"
        if actual != expected:
            raise ValueError(
                f"Expected SHA-256 {expected} of {name}. Received: {actual}. "
                "Reinstall mmzoo, or run tools/build_concepts.py."
            )


def _read_images(vendors):
    from PIL import Image

    images, labels = [], []
    order = {concept: label for label, concept in enumerate(class_names())}
    with zipfile.ZipFile(ASSET / "images.zip") as archive:
        for name in archive.namelist():
            vendor, file = name.split("/")
            if vendor in vendors:
                image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
                images.append(np.asarray(image))
                labels.append(order[file.split(".")[0]])
    return np.stack(images), np.array(labels)


def _fold(text):
    """Lower case without diacritics: a second spelling of a Latin phrase."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _read_phrases(languages, tags, folded):
    texts = json.loads(gzip.decompress((ASSET / "texts.json.gz").read_bytes()))
    phrases: list[str] = []
    labels: list[int] = []
    for language in languages:
        for label, concept in enumerate(class_names()):
            found = texts[language][concept]
            # A label says more than a tag ("fruit"): as often as all tags together.
            found = found[:1] * max(1, len(found) - 1) + found[1:] if tags else found[:1]
            for phrase in found:
                spellings = (phrase, _fold(phrase)) if folded else (phrase,)
                phrases.extend(spellings)
                labels.extend([label] * len(spellings))
    return encode_text(phrases, TEXT_BYTES), np.array(labels)


def _read_speech(voices):
    import soundfile

    index = _index()
    offset = 0
    chunks: list[np.ndarray] = []
    counts: list[int] = []
    labels: list[int] = []
    with soundfile.SoundFile(ASSET / "speech.ogg") as file:
        for name, clip_lengths in index["speech_lengths"].items():
            total = sum(clip_lengths)
            if name.split("+")[1] in voices:
                file.seek(offset)
                chunks.append(file.read(total, dtype="int16"))
                counts.extend(clip_lengths)
                labels.extend(range(len(clip_lengths)))
            offset += total
    lengths = np.array(counts, "int32")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype("int32")
    return np.concatenate(chunks), starts, lengths, np.array(labels)


def _by_class(labels):
    """Returns the order that sorts items by class, and each class' first item and count."""
    order = np.argsort(labels, kind="stable")
    count = np.bincount(labels, minlength=len(class_names())).astype("int32")
    return order, np.concatenate([[0], np.cumsum(count)[:-1]]).astype("int32"), count


@functools.cache
def load_sources(split: str) -> Sources:
    """Loads what a split draws from: its own vendors, languages and voices.

    Args:
        split: "train", "validation" or "test".

    Returns:
        `Sources`. Validation lacks the picture of 32 concepts, which its vendor never drew.

    Raises:
        ValueError: If `split` is not one of the three.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {SPLITS}. Received: split={split!r}.")
    rule = _index()["splits"][split]
    training = split == "train"
    images, image_labels = _read_images(rule["image"])
    phrases, phrase_labels = _read_phrases(rule["text"], rule["text_tags"], training)
    speech, starts, lengths, clip_labels = _read_speech(rule["audio"])
    first, count = {}, {}
    image_order, first["image"], count["image"] = _by_class(image_labels)
    phrase_order, first["text"], count["text"] = _by_class(phrase_labels)
    clip_order, first["audio"], count["audio"] = _by_class(clip_labels)
    return Sources(
        images=images[image_order],
        phrases=phrases[phrase_order],
        speech=speech,
        clip_starts=starts[clip_order],
        clip_lengths=lengths[clip_order],
        first=first,
        count=count,
        noise_db=tuple(rule["noise_db"]),
    )


def draw_samples(
    split: str, per_class: int = 8, seed: int = 128, noise_db: float | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws the fixed samples on which a model is validated or tested.

    Each sample takes one picture, one phrase and one clip of its class, each drawn evenly
    from the split's sources by a generator seeded with `seed`, the split and nothing else.
    A clip stands in 0 to 0.1 s of leading silence and carries white noise at the split's
    signal-to-noise ratio, from its first sample to 0.1 s behind its last; zeros follow.

    Args:
        split: "validation" or "test" ("train" works, without augmentation).
        per_class: Positive int. 8 gives the 1,024 samples of the benchmark. Concepts for
            which a split has no picture (32 in validation) are left out.
        seed: Int.
        noise_db: Signal-to-noise ratio of the speech, in dB, instead of the split's. Nothing
            else changes: pictures, phrases and clips are the same.

    Returns:
        A pair: dict of `image` uint8 `(samples, 64, 64, 3)`, `text` uint8 `(samples, 48)`,
        `audio` float32 `(samples, 12800)` in [-1, 1]; and int32 labels `(samples,)`.
    """
    sources = load_sources(split)
    if noise_db is not None:
        sources = dataclasses.replace(sources, noise_db=(noise_db, noise_db))
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    whole = np.flatnonzero(np.min(list(sources.count.values()), axis=0))
    labels = np.repeat(whole, per_class).astype("int32")
    item = {
        name: sources.first[name][labels] + rng.integers(0, sources.count[name][labels])
        for name in ("image", "text", "audio")
    }
    audio = np.zeros((len(labels), AUDIO_SAMPLES), "float32")
    margin = SAMPLE_RATE // 10
    for row, clip in zip(audio, item["audio"], strict=True):
        start, length = sources.clip_starts[clip], sources.clip_lengths[clip]
        wave = sources.speech[start : start + length] / np.float32(32768)
        lead = rng.integers(0, margin)
        power = np.mean(wave**2) / 10 ** (rng.uniform(*sources.noise_db) / 10)
        end = min(lead + length + margin, AUDIO_SAMPLES)
        wave = wave[: max(end - lead, 0)]
        row[lead : lead + len(wave)] = wave
        row[:end] += np.float32(np.sqrt(power)) * rng.standard_normal(end, "float32")
    inputs = {
        "image": sources.images[item["image"]],
        "text": sources.phrases[item["text"]],
        "audio": np.clip(audio, -1, 1),
    }
    return inputs, labels
