"""Modality dropout: a model that must do without one learns to use the others."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class ModalityDropout(keras.layers.Layer):
    """Masks whole modalities at random while training, a sample at a time.

    Each modality of each sample is dropped with probability `rate`; where all would go,
    all stay. Outside training, and with one modality, the masks pass unchanged.

    Args:
        rate: Float in [0, 1).
        seed: Optional int.

    Call arguments:
        masks: Dict of modality name to bool tensor `(batch, tokens)`.
        training: Bool.

    Returns:
        Dict like `masks`; all False for a modality that a sample lost.

    Raises:
        ValueError: If `rate` is not in [0, 1).

    Reference:
        Neverova et al., 2015 (arXiv:1501.00102).
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate}.")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, masks, training=False):
        if not training or self.rate == 0 or len(masks) < 2:
            return dict(masks)
        names = sorted(masks)
        batch = ops.shape(masks[names[0]])[0]
        draw = keras.random.uniform((batch, len(names)), seed=self.seed_generator)
        keep = draw >= self.rate
        keep = ops.logical_or(keep, ops.logical_not(ops.any(keep, axis=1, keepdims=True)))
        return {name: ops.logical_and(masks[name], keep[:, k : k + 1])
                for k, name in enumerate(names)}  # fmt: skip

    def compute_output_spec(self, masks, training=False):
        return {n: keras.KerasTensor(mask.shape, dtype="bool") for n, mask in masks.items()}

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
