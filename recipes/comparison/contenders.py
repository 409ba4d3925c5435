"""What takes part in the bake-off: each is trained from a seed, and answers any subset."""

import keras
import numpy as np

from mmzoo import encoders, fusion, training
from mmzoo.data import concept128
from mmzoo.fusion import zoo
from mmzoo.training.features import Features, accuracy_of, fit_features, start_again
from mmzoo.training.mixture import calibrate_mixture

ABSENT = 0.3  # how often a modality is taken away while training
AS_TEXT = "everything as text"


class Classifier:
    """A kind of fusion, or one modality alone, of the width that fits the task.

    Args:
        kind: One of `zoo.KINDS`, or a modality.
        task: What it is trained on.
    """

    def __init__(self, kind, task):
        self.kind, self.task = kind, task
        self.family, self.modalities = "unimodal", [kind]
        if kind in zoo.KINDS:
            self.family, self.modalities = zoo.KINDS[kind].family, task.train.modalities
        self.width = zoo.fit_width(self._build, task.parameters)
        self.model = self._build(self.width)

    def _build(self, width):
        shapes, classes = self.task.train.shapes, self.task.classes
        if self.kind in zoo.KINDS:
            return zoo.build_kind(self.kind, shapes, classes, width, absent=ABSENT)
        return zoo.build_alone(self.kind, shapes[self.kind][-1], classes, width)

    def fit(self, seed):
        keras.utils.set_random_seed(seed)
        start_again(self.model, self._build(self.width))
        fit_features(self.model, self.task.train, seed=seed, **self.task.budget)
        if self.family == "late":
            calibrate(self.model, self.task.validation)

    def accuracy(self, split, present):
        return accuracy_of(self.model, getattr(self.task, split), present)


def calibrate(model, held_out):
    """Finds how far each expert can be trusted, where a late fusion has a place for that."""
    inputs, labels = held_out.inputs_of(model), held_out.labels
    for layer in model.layers:
        if isinstance(layer, fusion.TemperatureScaling):
            training.calibrate_temperatures(model, layer, inputs, labels)
    for layer in model.layers:  # those behind it
        if isinstance(layer, fusion.LateFusion):
            training.calibrate_experts(model, layer, inputs, labels)
        if isinstance(layer, fusion.WeightedFusion):
            calibrate_mixture(model, layer, inputs, labels)


class AsText:
    """The baseline without a fusion layer: everything becomes text.

    One expert names what it sees, another what it hears; both names and the phrase, one string,
    are read by the text encoder, and a classifier behind it. Where a modality is absent its word
    is.

    Args:
        task: That of Concept-128.
    """

    family = "as text"

    def __init__(self, task):
        self.task, self.modalities = task, task.train.modalities
        self.named = [m for m in self.modalities if m != "text"]
        self.names = [name.encode() for name in concept128.class_names()]
        self.width = zoo.fit_width(lambda width: self._build(width)[0], task.parameters)
        self.model, self.recognisers, self.reader = self._build(self.width)
        self.encoder = encoders.text("mmzoo/concept128-text/1", name="text_encoder")

    def _build(self, width):
        """Returns the whole, for its cost, the experts for image and audio, and the reader."""
        shapes, classes = self.task.train.shapes, self.task.classes
        reader = zoo.build_alone("text", shapes["text"][-1], classes, width)
        inputs, outputs = {}, {}
        for m in self.named:
            expert = zoo.build_alone(m, shapes[m][-1], classes, width)
            inputs |= expert.input
            outputs[f"{m}_logits"] = expert.output["logits"]
        recognisers = keras.Model(inputs, outputs, name="recognisers")
        whole = keras.Model({**inputs, **reader.input}, {**outputs, **reader.output}, name="whole")
        return whole, recognisers, reader

    def fit(self, seed):
        keras.utils.set_random_seed(seed)
        _, recognisers, reader = self._build(self.width)
        start_again(self.recognisers, recognisers)
        start_again(self.reader, reader)
        fit_features(self.recognisers, self.task.train, seed=seed, **self.task.budget)
        present = dict.fromkeys(self.modalities, np.ones(len(self.task.train), bool))
        kept = fusion.PresenceDropout(ABSENT, seed=seed)(present, training=True)
        strings = self.read("train", {m: np.asarray(here) for m, here in kept.items()})
        fit_features(self.reader, strings, seed=seed, **self.task.budget)

    def accuracy(self, split, present):
        samples = len(getattr(self.task, split))
        here = {m: np.full(samples, m in present) for m in self.modalities}
        return accuracy_of(self.reader, self.read(split, here))

    def read(self, split, present):
        """Features of the strings; `present` is a dict of modality to bool `(samples,)`."""
        features, phrases = getattr(self.task, split), self.task.phrases[split]
        said = {"text": [bytes(phrase).rstrip(b"\0") for phrase in phrases]}
        taken = features.inputs_of(self.recognisers)
        logits = self.recognisers.predict(taken, batch_size=256, verbose=0)
        for m in self.named:
            said[m] = [self.names[label] for label in logits[f"{m}_logits"].argmax(-1)]
        words = [zip(said[m], present[m], strict=True) for m in (*self.named, "text")]
        strings = [
            b" ".join(word for word, here in row if here) for row in zip(*words, strict=True)
        ]
        length = phrases.shape[1] + len(self.named) * (1 + max(map(len, self.names)))
        rows = [np.frombuffer(string.ljust(length, b"\0"), "uint8") for string in strings]
        pooled = self.encoder.predict(np.stack(rows), batch_size=256, verbose=0)["pooled"]
        return Features({}, {}, {"text": pooled.astype("float16")}, features.labels)
