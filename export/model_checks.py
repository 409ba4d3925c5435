"""What a model itself must keep for any artifact of it to be right: asked of Keras, before."""

import keras
import numpy as np
import tensorflow as tf

from mmzoo.export.manifest import Tensor
from mmzoo.export.parity import compare
from mmzoo.export.samples import Samples
from mmzoo.export.signature import call

FEW = 3  # samples that are run one by one
MIXED = 32  # samples with modalities absent
PADDED = 1e-4  # of an output's scale: what 8 more zeros may change by other orders of sums
SAME = 1e-3  # of an output's scale: this looks for what a model feels, not for rounding


def check_model(model: keras.Model, samples: Samples, answers: dict, subsets=None) -> None:
    """Raises ValueError unless a model's answers are fit to be compared with.

    - They are finite: NaN is equal to nothing.
    - A sample's answer is the same alone and in a batch: one that depends on the others of the
      batch is another one on every server.
    - What an absent modality holds is not felt.

    Args:
        model: Functional model, of token ids where tokenizers were cut off.
        samples: What it is compared on.
        answers: The answers of "samples" and "subsets", dicts of output to array.
        subsets: `Subsets` of the samples; None if the model takes no presence.
    """
    check_finite(answers)
    together = _run(model, samples.inputs, slice(FEW))
    for k in range(FEW):
        alone = _run(model, samples.inputs, slice(k, k + 1))
        for name, value in alone.items():
            found = compare(value, together[name][k : k + 1], SAME)
            if found.breaches:
                raise ValueError(
                    "Expected a model whose answer to a sample does not depend on the others of "
                    f"its batch. Received: output {name!r}, another one alone: "
                    f"{found.breaches[0]}. A layer reads across the batch, as "
                    "keras.layers.MelSpectrogram does, which scales by the loudest sample: use "
                    "mmzoo.preprocessing.LogMel there."
                )
    if subsets is None:
        return
    blank, spoilt = (
        _run(model, each.inputs, slice(MIXED)) for each in (subsets.blank, subsets.spoilt)
    )
    for name, value in spoilt.items():
        found = compare(value, blank[name], SAME)
        if found.breaches:
            raise ValueError(
                "Expected a model that feels nothing of what an absent modality holds. Received: "
                f"output {name!r}, another one where that is NaN or another sample's: "
                f"{found.breaches[0]}. Hide it before its encoder (mmzoo.fusion.HideAbsent), and "
                "pass `presence` to the fusion."
            )


def check_finite(answers: dict) -> None:
    """Raises ValueError at NaN or infinity among answers: dict of key, output to array."""
    for key in answers:
        for name, value in answers[key].items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                count = int((~np.isfinite(value)).reshape(len(value), -1).any(1).sum())
                raise ValueError(
                    f"Expected a model whose answers are finite. Received: NaN or infinity in "
                    f"output {name!r} on {count} of {len(value)} {key}. Look at the samples, or "
                    "for a logarithm or a division that meets zero, such as a mean over nothing."
                )


def check_padding(model: keras.Model, samples: Samples, inputs: list[Tensor]) -> None:
    """Raises ValueError if a model feels how far a text is padded.

    Where texts are strings, each is padded to the longest of its batch, so that its answer
    would depend on the others.

    Args:
        model: Functional model.
        samples: What it is compared on.
        inputs: The model's; texts with a free length count.
    """
    free = [t for t in inputs if t.is_text and not t.tokens_of and t.shape[1] is None]
    for text in free:
        lengths = [len(row.tobytes().rstrip(b"\0")) for row in samples.inputs[text.name]]
        for k in np.argsort(lengths, kind="stable")[:FEW]:
            few = {name: value[k : k + 1] for name, value in samples.inputs.items()}
            short = few[text.name][:, : max(lengths[k], 1)]
            try:
                padded, alone = (
                    _run(model, few | {text.name: np.pad(short, ((0, 0), (0, more)))}, slice(1))
                    for more in (8, 0)
                )
            except (tf.errors.InvalidArgumentError, ValueError):
                continue  # too short for it: the sizes that Keras refuses are on record
            for name, value in alone.items():
                found = compare(value, padded[name], PADDED)
                if found.breaches:
                    raise ValueError(
                        f"Expected a model that does not feel how far {text.name!r} is padded, "
                        "since strings are padded to the longest of their batch. Received: output "
                        f"{name!r}, another one with 8 more zeros: {found.breaches[0]}. Mask the "
                        "zeros in its encoder, as mmzoo.encoders.text does, give the input a "
                        "fixed length, or export without the signature serving_default."
                    )


def _run(model, inputs, rows):
    made = call(model, {name: tf.constant(value[rows]) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in made.items()}
