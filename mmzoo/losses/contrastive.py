"""Contrastive losses whose negatives are all samples of the step, on whichever replica they lie.

Each takes `y_true`, int ids `(batch,)`: two samples of one id are no negatives of each other; and
`y_pred`, float `(batch, 2, units)`: the two embeddings of each sample, see `Pair`. Each returns a
value a sample, `(batch,)`. Inside a `DistributedModel` the embeddings of all replicas are gathered,
and the gradient flows back to where they came from: value and gradient are those of the whole batch
on one device.
"""

import keras
import tensorflow as tf
from keras import ops

from mmzoo.ops.sample_random import current_rows


class _Contrast(keras.losses.Loss):
    """What the three have in common."""

    needs_whole_batch = True

    def call(self, y_true, y_pred):
        if len(y_pred.shape) != 3 or y_pred.shape[1] != 2:
            raise ValueError(
                "Expected `y_pred` of shape (batch, 2, units), the output of `Pair`. Received: "
                f"shape={tuple(y_pred.shape)}."
            )
        y_true = ops.reshape(y_true, (-1,))
        first, ids = _gather(y_true)
        _, everything = _gather(y_pred)
        rows = first + ops.arange(ops.shape(y_pred)[0])
        own = ops.equal(rows[:, None], ops.arange(ops.shape(ids)[0])[None])  # (batch, all)
        alike = ops.logical_and(ops.equal(y_true[:, None], ids[None]), ops.logical_not(own))
        a, b = y_pred[:, 0], y_pred[:, 1]
        return self.compare(a, b, everything[:, 0], everything[:, 1], own, alike)

    def compare(self, a, b, every_a, every_b, own, alike):
        """Value a sample.

        Args:
            a, b: `(batch, units)`, the embeddings of these samples.
            every_a, every_b: `(all, units)`, those of all samples.
            own: Bool `(batch, all)`, where a sample meets itself.
            alike: Bool `(batch, all)`, where it meets another of its id.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="mmzoo")
class InfoNCE(_Contrast):
    """Each embedding is to find its partner among the partners of all samples.

    `-(log softmax_j(a_i · b_j)[i] + log softmax_j(b_i · a_j)[i]) / 2`, without the `j` of the same
    id as `i`.

    Reference:
        van den Oord et al., 2018 (arXiv:1807.03748); symmetric as in Radford et al., 2021
        (arXiv:2103.00020). Differs: samples of the same id are left out.
    """

    def __init__(self, name="info_nce", **kwargs):
        super().__init__(name=name, **kwargs)

    def compare(self, a, b, every_a, every_b, own, alike):
        both = []
        for mine, theirs in ((a, every_b), (b, every_a)):
            logits = ops.where(alike, -1e9, mine @ ops.transpose(theirs))
            partner = ops.sum(ops.where(own, logits, 0.0), axis=1)
            both.append(ops.logsumexp(logits, axis=1) - partner)
        return (both[0] + both[1]) / 2


@keras.saving.register_keras_serializable(package="mmzoo")
class SigmoidContrast(_Contrast):
    """Each pair of embeddings is to say whether it is of one sample.

    `-sum_j log sigmoid(z_ij a_i · b_j)`, with `z_ij` 1 for `i = j` and -1 elsewhere, without the
    `j` of the same id as `i`. Use `Pair` with a bias.

    Reference:
        Zhai et al., 2023 (arXiv:2303.15343). Differs: samples of the same id are left out; the
        embeddings are gathered, not passed around, which takes more memory.
    """

    def __init__(self, name="sigmoid_contrast", **kwargs):
        super().__init__(name=name, **kwargs)

    def compare(self, a, b, every_a, every_b, own, alike):
        logits = a @ ops.transpose(every_b)
        lost = ops.softplus(ops.where(own, -logits, logits))
        return ops.sum(ops.where(alike, 0.0, lost), axis=1)


@keras.saving.register_keras_serializable(package="mmzoo")
class SquaredDistance(_Contrast):
    """Embeddings of one sample are to meet, those of others to keep a margin.

    `|a_i - b_i|² + mean_j max(0, margin - |a_i - b_j|)²`, with the mean over the `j` that are not
    `i` and not of its id. With `margin=0` it is the squared distance of the pair alone, which is
    least where all embeddings are one.

    Args:
        margin: Float of 0 or more.

    Reference:
        Hadsell et al., 2006, "Dimensionality reduction by learning an invariant mapping". Differs:
        all other samples are negatives, by their mean.
    """

    def __init__(self, margin=1.0, name="squared_distance", **kwargs):
        super().__init__(name=name, **kwargs)
        if not margin >= 0:
            raise ValueError(f"`margin` must be 0 or more. Received: margin={margin}.")
        self.margin = margin

    def compare(self, a, b, every_a, every_b, own, alike):
        met = ops.sum(ops.square(a - b), axis=1)
        if self.margin == 0:
            return met
        square = ops.sum(ops.square(a[:, None] - every_b[None]), axis=-1)  # (batch, all)
        # The root has no gradient at 0, where two embeddings are one.
        near = ops.maximum(0.0, self.margin - ops.sqrt(ops.maximum(square, 1e-12)))
        other = ops.cast(ops.logical_not(ops.logical_or(own, alike)), met.dtype)
        count = ops.maximum(ops.sum(other, axis=1), 1.0)
        return met + ops.sum(other * ops.square(near), axis=1) / count

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


def _gather(values):
    """`(number of the first own row, the rows of all replicas in order)`."""
    rows = current_rows()
    if rows is None or rows.replicas == 1:
        return 0, values
    context = tf.distribute.get_replica_context()
    return rows.first, context.all_gather(values, axis=0)
