"""Late fusion: predictions are combined, not features."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class LateFusion(keras.layers.Layer):
    """Weighted product of experts over the predictions of the modalities.

    `logit = sum_m w_m * log_softmax(logit_m)` with one learned weight a modality, which
    starts at 1 and stays positive (`w = softplus(raw) / log 2`).

    Call arguments:
        logits: Dict of modality name to float tensor `(batch, classes)`.

    Returns:
        Float tensor `(batch, classes)` of logits.

    Raises:
        ValueError: If the tensors are not 2D of one shape.

    Reference:
        Hinton, 2002 (products of experts). Differs: one exponent an expert, learned.

    Example:

    >>> import numpy as np
    >>> LateFusion()({"image": np.zeros((2, 3)), "text": np.ones((2, 3))}).shape
    TensorShape([2, 3])
    """

    def build(self, logits_shape):
        shapes = {tuple(shape) for shape in logits_shape.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise ValueError(
                "Expected logits of one shape (batch, classes) for every modality. "
                f"Received: {logits_shape}."
            )
        self.modalities = sorted(logits_shape)
        self.modality_weights = self.add_weight(
            shape=(len(self.modalities),), initializer="zeros", name="modality_weights"
        )

    def call(self, logits):
        weights = ops.softplus(self.modality_weights) / float(np.log(2.0))
        experts = [ops.log_softmax(logits[name], axis=-1) for name in self.modalities]
        return sum(weights[k] * expert for k, expert in enumerate(experts))

    def set_expert_weights(self, weights):
        """Sets the weights `w_m` from a dict of modality name to positive float."""
        if set(weights) != set(self.modalities) or min(weights.values()) <= 0:
            raise ValueError(
                f"Expected a positive weight for each of {self.modalities}. Received: {weights}."
            )
        target = np.array([weights[name] for name in self.modalities]) * np.log(2.0)
        self.modality_weights.assign(np.log(np.expm1(target)))  # the inverse of softplus

    def compute_output_shape(self, logits_shape):
        return tuple(next(iter(logits_shape.values())))
