"""Calibration of experts: how sure each may be of what it says."""

import keras
import numpy as np
from keras import ops

from mmzoo.fusion.hide_absent import check_modalities, hide


@keras.saving.register_keras_serializable(package="mmzoo")
class TemperatureScaling(keras.layers.Layer):
    """Divides the logits of each expert by a learned temperature of its own.

    `y_m = logit_m / T_m`, `T_m = exp(t_m)`, which starts at 1 and stays positive. No expert
    changes its ranking of the classes, only how sure it is. For a fusion layer behind it that
    compares experts by their probabilities, like `MeanFusion` or `WeightedFusion`; in
    `LateFusion` the learned weights do the same already.
    `mmzoo.training.calibrate_temperatures` finds the temperatures on held-out samples.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, classes)` of logits; experts
            may differ in their classes.
        presence: Optional dict of modality name to bool tensor `(batch,)`. Where an expert is
            absent its logits are 0 and whatever they were has no influence.

    Returns:
        Dict of modality name to float tensor `(batch, classes)` of logits.

    Raises:
        ValueError: If the dicts differ in their modalities, or a tensor is not 2D.

    Reference:
        Guo et al., 2017 (arXiv:1706.04599). Differs: one temperature an expert, before they
        are fused.

    Example:

    >>> import numpy as np
    >>> layer = TemperatureScaling()
    >>> experts = {"image": np.array([[1.0, 2.0]]), "text": np.array([[1.0, 2.0]])}
    >>> _ = layer(experts)
    >>> layer.set_temperatures({"image": 2.0, "text": 0.5})
    >>> {name: logits.numpy().round(3).tolist() for name, logits in layer(experts).items()}
    {'image': [[0.5, 1.0]], 'text': [[2.0, 4.0]]}
    """

    def build(self, features_shape, presence_shape=None):
        if presence_shape is not None:
            check_modalities("features", features_shape, presence_shape)
        for name, shape in features_shape.items():
            if len(shape) != 2:
                raise ValueError(
                    "Expected logits of shape (batch, classes) for every modality. "
                    f"Received: {name} of shape {tuple(shape)}."
                )
        self.modalities = sorted(features_shape)
        self.log_temperatures = self.add_weight(
            shape=(len(self.modalities),), initializer="zeros", name="log_temperatures"
        )

    def call(self, features, presence=None):
        inverse = ops.exp(-self.log_temperatures)
        scaled = {}
        for k, name in enumerate(self.modalities):
            logits = features[name]
            if presence is not None:
                logits = hide(logits, presence[name])
            scaled[name] = logits * inverse[k]
        return scaled

    def set_temperatures(self, temperatures):
        """Sets the temperatures `T_m` from a dict of modality name to positive float."""
        if set(temperatures) != set(self.modalities) or min(temperatures.values()) <= 0:
            raise ValueError(
                f"Expected a positive temperature for each of {self.modalities}. "
                f"Received: {temperatures}."
            )
        self.log_temperatures.assign(np.log([temperatures[name] for name in self.modalities]))

    def compute_output_shape(self, features_shape, presence_shape=None):
        del presence_shape
        return {name: tuple(shape) for name, shape in features_shape.items()}
