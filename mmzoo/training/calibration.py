"""Weights of experts from held-out samples."""

import keras
import numpy as np

from mmzoo.fusion import LateFusion


def calibrate_experts(model: keras.Model, layer: LateFusion, inputs, labels) -> dict[str, float]:
    """Gives a late fusion the weights with the least loss on samples held out of training.

    Trained on what it has memorised, a model trusts each modality as it does there. On
    other sources one may hold and another fail; a handful of weights, found on a few hundred
    held-out samples, says how far each can be trusted. Nothing else in the model changes.

    Args:
        model: Functional model that holds `layer`.
        layer: The `LateFusion` whose weights are set, in place.
        inputs: Held-out samples, as `model.predict` takes them.
        labels: Int array `(samples,)`.

    Returns:
        Dict of expert to its weight.

    Raises:
        ValueError: If the labels don't fit the samples.

    Reference:
        Guo et al., 2017 (arXiv:1706.04599). Differs: one inverse temperature an expert, fitted
        on the product of all, instead of one for the whole model.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    names = layer.modalities  # sorted, as Keras flattens a dict
    experts = keras.Model(
        model.inputs, dict(zip(names, keras.tree.flatten(layer.input), strict=True))
    )
    outputs = experts.predict(inputs, batch_size=64, verbose=0)
    scores = np.stack([log_softmax(outputs[name], axis=-1) for name in names])
    if scores.shape[1] != len(labels):
        raise ValueError(f"Expected {scores.shape[1]} labels. Received: {len(labels)}.")

    def loss(log_weights):
        joined = log_softmax(np.tensordot(np.exp(log_weights), scores, 1), axis=-1)
        return -joined[np.arange(len(labels)), labels].mean()

    # Between 1/7 and 7: an expert that says nothing has no best weight to stop at.
    found = minimize(loss, np.zeros(len(names)), bounds=[(-2, 2)] * len(names))
    weights = dict(zip(names, np.exp(found.x).tolist(), strict=True))
    layer.set_expert_weights(weights)
    return weights
