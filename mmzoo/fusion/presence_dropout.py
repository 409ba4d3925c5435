"""Presence dropout: a model that must do without a modality learns to use the others."""

import keras
from keras import ops

from mmzoo.ops.sample_random import SEED_NAME, sample_uniform


@keras.saving.register_keras_serializable(package="mmzoo")
class PresenceDropout(keras.layers.Layer):
    """Drops whole modalities at random while training, a sample at a time.

    Each modality that is present in a sample is dropped with its `rate`, independently. Where
    all present ones would go, all of them stay. An absent modality stays absent. Outside
    training `presence` passes unchanged. What is dropped depends on the seed, the step and the
    sample's place in the batch of all devices, see `SampleDropout`.

    Args:
        rate: Float in [0, 1), or dict of modality name to such a float.
        seed: Optional int.

    Call arguments:
        presence: Dict of modality name to bool tensor `(batch,)`.
        training: Bool.

    Returns:
        Dict of modality name to bool tensor `(batch,)`, for a fusion layer's `presence`.

    Raises:
        ValueError: If a rate is not in [0, 1), or the rates are not of the modalities of
            `presence`.

    Reference:
        Neverova et al., 2015 (arXiv:1501.00102). Differs: a sample never loses everything.

    Example:

    >>> import numpy as np
    >>> presence = {"image": np.ones(4, bool), "text": np.ones(4, bool)}
    >>> dropped = PresenceDropout({"image": 0.9, "text": 0.0}, seed=1)(presence, training=True)
    >>> dropped["text"].numpy().tolist()
    [True, True, True, True]
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        for each in rate.values() if isinstance(rate, dict) else (rate,):
            if not 0 <= each < 1:
                raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate}.")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed, name=SEED_NAME)

    def build(self, presence_shape):
        if isinstance(self.rate, dict) and set(self.rate) != set(presence_shape):
            raise ValueError(
                "Expected a rate for each modality of `presence`. Received: rates of "
                f"{sorted(self.rate)} for {sorted(presence_shape)}."
            )

    def call(self, presence, training=False):
        names = sorted(presence)
        rates = [self.rate[name] if isinstance(self.rate, dict) else self.rate for name in names]
        if not training or not any(rates):
            return dict(presence)
        here = ops.stack([presence[name] for name in names], axis=1)  # (batch, modalities)
        draw = sample_uniform(ops.shape(here), self.seed_generator)
        kept = ops.logical_and(here, draw >= ops.convert_to_tensor(rates, "float32"))
        kept = ops.where(ops.any(kept, axis=1, keepdims=True), kept, here)
        return {name: kept[:, k] for k, name in enumerate(names)}

    def compute_output_spec(self, presence, training=False):
        return {n: keras.KerasTensor(here.shape, dtype="bool") for n, here in presence.items()}

    def get_config(self):
        rate = dict(self.rate) if isinstance(self.rate, dict) else self.rate
        return {**super().get_config(), "rate": rate, "seed": self.seed}
