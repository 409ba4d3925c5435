import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from mmzoo.data import concept128, encode_text
from mmzoo.data.augment import operators
from mmzoo.data.concept128.stream import training_stream

CLASSES = 12


def small_sources(classes=CLASSES):
    """Items that say their class: a shade, a letter and a pitch; 1 to 3 a modality."""
    rng = np.random.default_rng(0)
    count = {m: rng.integers(1, 4, classes).astype("int32") for m in ("image", "text", "audio")}
    first = {m: (np.cumsum(n) - n).astype("int32") for m, n in count.items()}
    label = {m: np.repeat(np.arange(classes), n) for m, n in count.items()}
    images = np.full((len(label["image"]), 16, 16, 3), 255, "uint8")
    images[:, 4:12, 4:12] = (5 * label["image"])[:, None, None, None]
    clips = len(label["audio"])
    lengths = rng.integers(300, 600, clips).astype("int32")
    return concept128.Sources(
        images=images,
        phrases=encode_text([12 * chr(ord("a") + k) for k in label["text"]], 12),
        speech=(8_000 * rng.standard_normal(lengths.sum())).clip(-32_768, 32_767).astype("int16"),
        clip_starts=(np.cumsum(lengths) - lengths).astype("int32"),
        clip_lengths=lengths,
        first=first,
        count=count,
        noise_db=(0.0, 20.0),
    )


def batches(stream, number):
    found = list(stream.take(number).as_numpy_iterator())
    assert len(found) == number
    return found


def assert_equal(one, other):
    for (inputs, label), (others, other_label) in zip(one, other, strict=True):
        np.testing.assert_array_equal(label, other_label)
        assert sorted(inputs) == sorted(others)
        for name in inputs:
            np.testing.assert_array_equal(inputs[name], others[name], name)


def test_batches():
    stream = training_stream(small_sources(), 5)
    spec = stream.element_spec
    for inputs, label in batches(stream, 2):
        assert label.shape == (5,) and label.dtype == np.int32
        assert inputs["image"].shape == (5, 16, 16, 3) and inputs["image"].dtype == np.uint8
        assert inputs["text"].shape == (5, 12) and inputs["text"].dtype == np.uint8
        assert inputs["audio"].shape == (5, concept128.AUDIO_SAMPLES)
        assert inputs["audio"].dtype == np.float32 and np.abs(inputs["audio"]).max() <= 1
        assert (inputs["text"][:, 0] > 0).all()
    assert sorted(spec[0]) == ["audio", "image", "text"]


def test_two_iterations_and_two_streams_are_equal():
    stream = training_stream(small_sources(), 4, seed=7)
    first = batches(stream, 6)
    assert_equal(batches(stream, 6), first)
    assert_equal(batches(training_stream(small_sources(), 4, seed=7), 6), first)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_resumed_by_skip(k):
    stream = training_stream(small_sources(), 5, seed=7)
    whole = batches(stream, 7)
    assert_equal(batches(stream.skip(k), 7 - k), whole[k:])
    assert_equal(batches(training_stream(small_sources(), 5, seed=7, first=k), 7 - k), whole[k:])


def test_threads_change_nothing():
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    stream = training_stream(small_sources(), 4)
    assert_equal(batches(stream.with_options(options), 5), batches(stream, 5))


def test_seeds_and_steps_differ():
    one, other = (batches(training_stream(small_sources(), 24, seed=s), 4) for s in (0, 1))
    for (inputs, label), (others, other_label) in itertools.combinations([*one, *other], 2):
        assert (label != other_label).any()
        assert all((inputs[name] != others[name]).any() for name in inputs)


@pytest.mark.parametrize("batch_size", [1, 5, 12, 16, 30])
def test_every_class_once_in_each_deck(batch_size):
    stream = training_stream(small_sources(), batch_size, seed=3).map(lambda _, label: label)
    number = -(-5 * CLASSES // batch_size)
    labels = np.concatenate(batches(stream, number))[: 5 * CLASSES].reshape(5, CLASSES)
    assert (np.sort(labels, axis=1) == np.arange(CLASSES)).all()
    assert len(np.unique(labels, axis=0)) == 5  # a new order each time


def test_items_belong_to_their_label_and_are_all_drawn():
    """The letter that a phrase is made of outlives the misspelling of some."""
    sources = small_sources()
    letters, lengths = [], set()
    for inputs, label in batches(training_stream(sources, 24, seed=5), 8):
        for row, expected in zip(inputs["text"], label, strict=True):
            found = np.bincount(row[row > 0]).argmax() - ord("a")
            letters.append(found == expected)
    assert np.mean(letters) == 1
    clean = dataclasses.replace(sources, noise_db=(200.0, 200.0))
    for inputs, label in batches(training_stream(clean, 24, seed=5), 8):
        for row, expected in zip(inputs["audio"], label, strict=True):
            heard = np.flatnonzero(np.abs(row) > 1e-5)
            first, count = sources.first["audio"][expected], sources.count["audio"][expected]
            clips = sources.clip_lengths[first : first + count]
            speed = clips / (heard[-1] - heard[0] + 1)
            assert ((speed > 0.82) & (speed < 1.23)).any()
            lengths.add(int(expected))
    assert lengths == set(range(CLASSES))


def four_of_one_class():
    """One class with four items a modality, each known by its number."""
    count = {m: np.array([4], "int32") for m in ("image", "text", "audio")}
    return dataclasses.replace(
        small_sources(4),
        images=np.stack([np.full((8, 8, 3), 80 * k, "uint8") for k in range(4)]),
        phrases=encode_text([12 * letter for letter in "abcd"]),
        clip_starts=np.int32([0, 300, 600, 900]),
        clip_lengths=np.full(4, 300, "int32"),
        first=dict.fromkeys(count, np.zeros(1, "int32")),
        count=count,
    )


def test_items_of_a_class_are_drawn_evenly_and_apart(monkeypatch):
    """800 draws: each of four items in each modality, and each pair of items, as often."""
    monkeypatch.setattr(operators, "augment_images", lambda images, seed: images[:, 0, 0, 0])
    monkeypatch.setattr(operators, "augment_texts", lambda texts, seed: texts[:, 0])
    monkeypatch.setattr(operators, "cut_clips", lambda speech, starts, *_, **__: starts)
    stream = training_stream(four_of_one_class(), 40)
    drawn = {m: [] for m in ("image", "text", "audio")}
    for inputs, _ in batches(stream, 20):
        for name, values in inputs.items():
            drawn[name].extend(values)
    number = {name: np.unique(values, return_inverse=True)[1] for name, values in drawn.items()}
    for one, other in itertools.combinations(number, 2):
        pairs = np.bincount(4 * number[one] + number[other], minlength=16)
        # Five standard deviations of a binomial with 1/16.
        assert len(pairs) == 16 and np.abs(pairs - 50).max() < 5 * np.sqrt(50 * 15 / 16)


def test_every_batch_is_augmented_anew():
    """With one item a modality, steps and seeds differ by augmentation alone."""
    sources = dataclasses.replace(
        four_of_one_class(),
        count={m: np.array([1], "int32") for m in ("image", "text", "audio")},
    )
    found = [b for s in (0, 1) for b in batches(training_stream(sources, 4, seed=s), 3)]
    for (one, _), (other, _) in itertools.combinations(found, 2):
        assert all((one[name] != other[name]).any() for name in one)


def test_real_sources():
    """One batch of the recipe's own stream: every class of the 128 once."""
    stream = training_stream(concept128.load_sources("train"), 128, seed=1)
    [(inputs, label)] = batches(stream, 1)
    assert np.sort(label).tolist() == list(range(128))
    assert inputs["image"].shape == (128, 64, 64, 3)
    assert inputs["text"].shape == (128, concept128.TEXT_BYTES) and (inputs["text"][:, 0] > 0).all()
    assert (np.abs(inputs["audio"]).max(1) > 0.1).all()


def test_a_class_without_items_is_refused():
    sources = small_sources()
    count = {m: value.copy() for m, value in sources.count.items()}
    count["text"][3] = 0
    with pytest.raises(ValueError, match=r"an item of every class. Received none of: \['text'\]"):
        training_stream(dataclasses.replace(sources, count=count), 4)
