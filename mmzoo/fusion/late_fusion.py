"""Late fusion: predictions are combined, not features."""

import keras
import numpy as np
from keras import ops

from mmzoo.fusion.base import FusionLayer
from mmzoo.fusion.explanation import asked, note_weights


@keras.saving.register_keras_serializable(package="mmzoo")
class LateFusion(FusionLayer):
    """Weighted product of experts over the predictions of the modalities.

    `logit = sum_m w_m * log_softmax(logit_m)` with one learned weight a modality, which
    starts at 1 and stays positive (`w = softplus(raw) / log 2`).

    Call arguments:
        features: Dict of modality name to float tensor `(batch, classes)` of logits.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent expert
            is left out of the sum; with none, all classes are alike.

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

    takes = "logits"
    returns = "logits"

    def build_fusion(self, widths):
        if len(set(widths.values())) != 1:
            raise ValueError(
                "Expected logits of one shape (batch, classes) for every modality. "
                f"Received: {widths} classes."
            )
        self.modality_weights = self.add_weight(
            shape=(len(widths),), initializer="zeros", name="modality_weights"
        )

    def fuse(self, features, masks, presence, training):
        weights = ops.softplus(self.modality_weights) / float(np.log(2.0))
        total = 0.0
        shares = []
        for k, name in enumerate(self.modalities):
            expert = ops.log_softmax(features[name], axis=-1)
            here = ops.cast(presence[name], expert.dtype)[:, None]
            shares.append(weights[k] * here)  # (batch, 1)
            total = total + shares[-1] * expert
        if asked():
            shares = ops.concatenate(shares, axis=-1)
            most = ops.maximum(ops.sum(shares, axis=-1, keepdims=True), 1e-6)
            note_weights(self.modalities, shares / most)
        return total

    def set_expert_weights(self, weights):
        """Sets the weights `w_m` from a dict of modality name to positive float."""
        if set(weights) != set(self.modalities) or min(weights.values()) <= 0:
            raise ValueError(
                f"Expected a positive weight for each of {self.modalities}. Received: {weights}."
            )
        target = np.array([weights[name] for name in self.modalities]) * np.log(2.0)
        self.modality_weights.assign(np.log(np.expm1(target)))  # the inverse of softplus

    def fused_shape(self, shapes):
        return next(iter(shapes.values()))
