"""Concept-128 as a source: the task, its samples and its training stream."""

import dataclasses

from mmzoo.data.concept128 import dataset
from mmzoo.tasks import Audio, Classification, Feature, Image, Text

LABEL = "labels"


def features(modalities=dataset.MODALITIES) -> tuple[Feature, ...]:
    """The features of a model of some modalities: icons are padded with white."""
    size = (dataset.IMAGE_SIZE, dataset.IMAGE_SIZE)
    known = {
        "image": Image("image", size, "pad"),
        "text": Text("text"),
        "audio": Audio("audio", dataset.SAMPLE_RATE),
    }
    return tuple(known[modality] for modality in modalities)


class Concept128:
    """Concept-128: one of 128 everyday concepts from a picture, a phrase and a spoken word.

    A `mmzoo.tasks.Source`. Splits are by icon vendor, language and voice.

    Args:
        modalities: Those of "image", "text" and "audio" that a model takes.
        noise_db: Signal-to-noise ratio of the speech in dB, instead of the splits' own.
    """

    def __init__(self, modalities=dataset.MODALITIES, noise_db: float | None = None):
        self.modalities, self.noise_db = tuple(modalities), noise_db
        names = tuple(dataset.class_names())
        self._loaded: dict[str, dataset.Sources] = {}
        self.task = Classification(features(self.modalities), names, target=LABEL)

    def samples(self, split: str, per_class: int = 8) -> tuple[dict, dict]:
        """The samples of a split, the same at each call; see `draw_samples`."""
        inputs, labels = dataset.draw_samples(split, per_class, noise_db=self.noise_db)
        return {name: inputs[name] for name in self.modalities}, {LABEL: labels}

    def batches(self, split: str, batch_size: int, seed: int, step: int = 0):
        """The endless training stream as a `tf.data.Dataset`, a function of its arguments."""
        from mmzoo.data.concept128.stream import training_stream

        sources = self._sources(split)
        stream = training_stream(sources, batch_size, seed, self.modalities, step)
        return stream.map(lambda inputs, label: (inputs, {LABEL: label}))

    def identity(self) -> dict:
        """Name, checksum, sizes (items of each modality) and splits of the data set."""
        sizes = {
            split: {m: int(self._sources(split).count[m].sum()) for m in self.modalities}
            for split in dataset.SPLITS
        }
        return {
            "name": "concept128",
            "sha256": dataset.checksum(),
            "sizes": sizes,
            "splits": dataset.split_sources(),
        }

    def _sources(self, split):
        if split not in self._loaded:
            found = dataset.load_sources(split)
            if self.noise_db is not None:
                noise = (self.noise_db, self.noise_db)
                found = dataclasses.replace(found, noise_db=noise)
            self._loaded[split] = found
        return self._loaded[split]
