"""Dropout whose mask belongs to the sample, not to the device that computes it."""

import keras
from keras import ops

from mmzoo.ops.sample_random import SEED_NAME, sample_uniform


@keras.saving.register_keras_serializable(package="mmzoo")
class SampleDropout(keras.layers.Layer):
    """Dropout that drops the same on one device and on many, for the same seed.

    `keras.layers.Dropout` draws for the rows of its own device: with other devices the model is
    another one. Here a row's mask depends on the seed, the step and the row's place in the batch
    of all devices. In a `DistributedModel` the weights after training are then those of one
    device, but for rounding, also with micro-batches. Without training nothing happens.

    Args:
        rate: Float in [0, 1), the share of units to drop; the others are divided by `1 - rate`.
        seed: Optional int.

    Call arguments:
        inputs: Float tensor `(batch, …)`; all but the batch is the same on every device.
        training: Bool.

    Returns:
        Tensor of the shape and dtype of `inputs`.

    Raises:
        ValueError: If `rate` is not in [0, 1).

    Reference:
        Srivastava et al., 2014. Differs: the mask is a function of the sample's place.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be in [0, 1). Received: rate={rate}.")
        self.rate = rate
        self.seed = seed
        self.supports_masking = True
        self.seed_generator = keras.random.SeedGenerator(seed, name=SEED_NAME)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        kept = sample_uniform(ops.shape(inputs), self.seed_generator) >= self.rate
        return ops.where(kept, inputs / (1 - self.rate), ops.zeros_like(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
