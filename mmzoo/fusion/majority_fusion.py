"""Late fusion: a vote."""

import math

import keras
from keras import ops

from mmzoo.fusion.experts import ExpertFusion, mean_of_present, stacked


@keras.saving.register_keras_serializable(package="mmzoo")
class MajorityFusion(ExpertFusion):
    """Majority vote: each expert that is present has one vote, for its top class.

    `logit_c = (votes_c + mean_m p_mc / 2) / temperature`, `p_m = softmax(logit_m)`. The mean
    probability never outweighs a vote: it ranks classes with the same number of votes. An
    expert with several top classes votes for the first of them. No weights; a vote has no
    gradient, so this is for experts that are trained already.

    Args:
        temperature: Positive float, the softer the higher. It scales the logits and so says
            how sure `softmax(logits)` is; the ranking is the same with any.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, classes)` of logits.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent expert
            has no vote; with none present, all classes are alike.

    Returns:
        Float tensor `(batch, classes)` of logits. In half precision classes with two or three
        votes each may come out equal where their mean probabilities differ by less than 0.004
        (float16) or 0.03 (bfloat16).

    Raises:
        ValueError: If `temperature` is not positive and finite, the dicts' keys differ, or the
            tensors are not 2D of one shape.

    Reference:
        Kittler et al., 1998 (On combining classifiers), the majority vote. Differs: ties are
        broken by the mean probability.

    Example:

    >>> import numpy as np
    >>> experts = {"audio": [[0.0, 1.0]], "image": [[0.0, 1.0]], "text": [[9.0, 0.0]]}
    >>> logits = MajorityFusion()({name: np.array(value) for name, value in experts.items()})
    >>> logits.numpy().argmax(-1).tolist()
    [1]
    """

    def __init__(self, temperature=1.0, **kwargs):
        super().__init__(**kwargs)
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(
                f"`temperature` must be positive and finite. Received: temperature={temperature}."
            )
        self.temperature = temperature

    def fuse(self, features, masks, presence, training):
        scores = stacked(features)  # (batch, experts, classes)
        here = ops.expand_dims(ops.cast(stacked(presence), scores.dtype), -1)
        # Not argmax, which Keras makes of bit operations that TFLite doesn't have.
        top = ops.one_hot(ops.top_k(scores, 1)[1][..., 0], scores.shape[-1], dtype=scores.dtype)
        votes = ops.sum(here * top, axis=1)
        mean = mean_of_present(ops.softmax(scores, axis=-1), presence)
        return (votes + mean / 2) / self.temperature

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
