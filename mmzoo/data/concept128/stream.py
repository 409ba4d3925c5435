"""The training stream of Concept-128: a pure function of (seed, step)."""

import tensorflow as tf

from mmzoo.data.augment import operators
from mmzoo.data.concept128.dataset import AUDIO_SAMPLES, MODALITIES, Sources


def training_stream(
    sources: Sources, batch_size: int, seed: int = 0, modalities=MODALITIES, first: int = 0
) -> tf.data.Dataset:
    """An endless stream of augmented batches.

    A step takes `batch_size` classes in turn from a shuffled deck of all classes, and for
    each an independent picture, phrase and clip of that class; all are augmented.
    Batch k depends on the seed and k alone: a run is resumed with `first=k`, at no cost, and
    the number of threads changes nothing.

    Args:
        sources: What to draw from; every class needs at least one item a modality.
        batch_size: Positive int.
        seed: Int.
        modalities: Which of the three to draw. Leaving one out changes nothing in the others.
        first: Number of the batch to begin with.

    Returns:
        Dataset of `({modality: batch}, label)`, with `label` int32 `(batch,)`.
    """
    empty = [name for name, count in sources.count.items() if (count == 0).any()]
    if empty:
        raise ValueError(f"Training needs an item of every class. Received none of: {empty}.")
    tables = {
        name: (tf.constant(sources.first[name]), tf.constant(sources.count[name]))
        for name in MODALITIES
    }
    images, phrases = tf.constant(sources.images), tf.constant(sources.phrases)
    speech = tf.constant(sources.speech)
    starts, lengths = tf.constant(sources.clip_starts), tf.constant(sources.clip_lengths)
    classes = len(sources.count["image"])

    def pick(name, label, key, salt):
        first, count = (tf.gather(table, label) for table in tables[name])
        share = tf.random.stateless_uniform(tf.shape(label), key + [0, salt])
        return first + tf.cast(share * tf.cast(count, tf.float32), tf.int32)

    def draw_images(label, key):
        return operators.augment_images(tf.gather(images, pick("image", label, key, 81)), key)

    def draw_texts(label, key):
        return operators.augment_texts(tf.gather(phrases, pick("text", label, key, 82)), key)

    def draw_clips(label, key):
        clip = pick("audio", label, key, 83)
        return operators.cut_clips(
            speech, tf.gather(starts, clip), tf.gather(lengths, clip), key,
            samples=AUDIO_SAMPLES, noise_db=sources.noise_db,
        )  # fmt: skip

    draw = {"image": draw_images, "text": draw_texts, "audio": draw_clips}

    def shuffled(deck):
        return tf.argsort(tf.random.stateless_uniform([classes], [seed, deck]))

    def batch(step):
        key = tf.stack([seed, 100 * tf.cast(step, tf.int32)])
        place = tf.cast(step, tf.int32) * batch_size
        decks = [shuffled(place // classes + k) for k in range((batch_size - 1) // classes + 2)]
        label = tf.concat(decks, 0)[place % classes :][:batch_size]
        return {name: draw[name](label, key) for name in modalities}, label

    stream = tf.data.Dataset.counter(first).map(
        batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return stream.prefetch(tf.data.AUTOTUNE)
