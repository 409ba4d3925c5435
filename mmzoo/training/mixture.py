"""Weights of a mixture of experts from held-out samples."""

import keras
import numpy as np

from mmzoo.fusion import WeightedFusion
from mmzoo.training.calibration import held_out


def calibrate_mixture(
    model: keras.Model, layer: WeightedFusion, inputs, labels
) -> dict[str, float]:
    """Gives a mixture the weights with the least loss on samples held out of training.

    For the reason that `calibrate_experts` gives: where an expert has memorised its samples,
    training gives it all the weight. Temperatures first, if there are any: see
    `calibrate_temperatures`. Nothing else in the model changes.

    Args:
        model: Functional model that holds `layer`.
        layer: The `WeightedFusion` whose scores are set, in place.
        inputs: Held-out samples, as `model.predict` takes them.
        labels: Int array `(samples,)`.

    Returns:
        Dict of expert to its weight; they sum to 1.

    Raises:
        ValueError: If there is one expert only, the labels don't fit the samples, or a sample has
            no expert.
    """
    if layer.scores is None:
        raise ValueError(
            "Expected a mixture of two experts or more. Received: one, whose weight is 1."
        )
    from scipy.optimize import minimize
    from scipy.special import log_softmax, logsumexp, softmax

    said, present = held_out(model, layer, inputs, labels)
    if not present.any(axis=0).all():
        raise ValueError(
            "Expected an expert for every held-out sample. Received: "
            f"{int((~present.any(axis=0)).sum())} samples without any. Leave them out."
        )
    rows = np.arange(len(labels))
    right = np.stack([score[rows, labels] for score in said])  # (experts, samples)

    def loss(scores):
        weights = log_softmax(np.where(present, scores[:, None], -np.inf), axis=0)
        return -logsumexp(weights + right, axis=0).mean()

    # An expert that adds nothing has no best score to stop at.
    found = minimize(loss, np.zeros(len(said)), bounds=[(-4, 4)] * len(said))
    layer.scores.assign(found.x)
    return dict(zip(layer.modalities, softmax(found.x).tolist(), strict=True))
