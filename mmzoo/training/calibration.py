"""Weights and temperatures of experts from held-out samples."""

import keras
import numpy as np

from mmzoo.fusion import LateFusion
from mmzoo.fusion.temperature_scaling import TemperatureScaling


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
    scores, _ = held_out(model, layer, inputs, labels)
    weights = dict(zip(layer.modalities, _best_weights(scores, labels), strict=True))
    layer.set_expert_weights(weights)
    return weights


def calibrate_temperatures(
    model: keras.Model, layer: TemperatureScaling, inputs, labels
) -> dict[str, float]:
    """Gives each expert the temperature with the least loss on samples held out of training.

    Each on its own, before any fusion, on the samples in which it is present: an expert that
    is surer than it is right gets a temperature above 1. Nothing else in the model changes.

    Args:
        model: Functional model that holds `layer`.
        layer: The `TemperatureScaling` whose temperatures are set, in place.
        inputs: Held-out samples, as `model.predict` takes them.
        labels: Int array `(samples,)`.

    Returns:
        Dict of expert to its temperature.

    Raises:
        ValueError: If the labels don't fit the samples, or an expert is in none of them.

    Reference:
        Guo et al., 2017 (arXiv:1706.04599). Differs: one temperature an expert, between 1/7
        and 7.
    """
    scores, present = held_out(model, layer, inputs, labels)
    temperatures = {}
    for name, score, here in zip(layer.modalities, scores, present, strict=True):
        if not here.any():
            raise ValueError(
                f"Expected held-out samples with every expert. Received: none with {name!r}."
            )
        [weight] = _best_weights([score[here]], np.asarray(labels)[here])
        temperatures[name] = 1 / weight
    layer.set_temperatures(temperatures)
    return temperatures


def held_out(model, layer, inputs, labels):
    """What a layer's experts say of held-out samples, and where they are present.

    Returns:
        A list of float `(samples, classes)`, log-softmax, zeros where an expert is absent; and
        bool `(experts, samples)`.
    """
    from scipy.special import log_softmax

    tensors = keras.tree.flatten(layer.input)  # the features, then any presence
    experts = len(layer.modalities)  # sorted, as Keras flattens a dict
    # A dict, because Keras takes a list of one tensor for the tensor.
    taken = keras.Model(model.inputs, {str(k): tensor for k, tensor in enumerate(tensors)})
    predicted = taken.predict(inputs, batch_size=64, verbose=0)
    outputs = [predicted[str(k)] for k in range(len(tensors))]
    if len(outputs[0]) != len(labels):
        raise ValueError(f"Expected {len(outputs[0])} labels. Received: {len(labels)}.")
    present = np.array(outputs[experts:] or np.ones((experts, len(labels)), bool))
    scores = [
        log_softmax(np.where(here[:, None], logits, 0), axis=-1) * here[:, None]
        for logits, here in zip(outputs[:experts], present, strict=True)
    ]
    return scores, present


def _best_weights(scores, labels):
    """The exponents with which a product of experts has the least loss."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    def loss(log_weights):
        joined = log_softmax(np.tensordot(np.exp(log_weights), scores, 1), axis=-1)
        return -joined[np.arange(len(labels)), labels].mean()

    # Between 1/7 and 7: an expert that says nothing has no best weight to stop at.
    found = minimize(loss, np.zeros(len(scores)), bounds=[(-2, 2)] * len(scores))
    return np.exp(found.x).tolist()
