"""What every fusion layer shares: one call, and what an absent modality is."""

from typing import ClassVar

import keras
from keras import ops

TAKES = {"tokens": 3, "vectors": 2, "logits": 2}  # rank of a modality's tensor


def positive_int(name, value):
    """`value`, which the argument `name` of a layer got; a ValueError if it is no int above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"`{name}` must be a positive int. Received: {name}={value!r}.")
    return value


class FusionLayer(keras.layers.Layer):
    """Combines one modality or more; any of them may be absent from a sample.

    Where `presence` is given, an absent modality is replaced before the fusion sees it: tokens
    by one learned absent token, a vector by a learned vector. Its content has no influence at
    all, whatever it is, NaN too. Logits have no such stand-in: a subclass leaves the absent
    ones out. Samples without any modality get what the absent tokens alone make, a learned
    prior.

    A subclass names what it `takes` and `returns`, makes its weights in `build_fusion`, combines
    in `fuse`, and says its result's shape in `fused_shape`. Modalities come to each in sorted
    order.

    Call arguments:
        features: Dict of modality name to float tensor: tokens `(batch, N_m, D_m)`, N_m >= 1,
            vectors `(batch, D_m)` or logits `(batch, classes)`, as `takes` says.
        masks: For tokens, optional dict of modality name to bool tensor `(batch, N_m)`, True
            where a token is real; None: all are.
        presence: Optional dict of modality name to bool tensor `(batch,)`. None: every
            modality is present, and there are no absent tokens to learn.
        training: Optional bool.

    Returns:
        What the subclass says: tokens `(batch, N, D)`, a vector `(batch, D)` or logits.

    Raises:
        ValueError: If the dicts differ in their modalities, a tensor is of another rank, or
            masks are given with anything but tokens.
    """

    takes: ClassVar[str] = "vectors"
    returns: ClassVar[str] = "vector"

    # --- for a subclass to write

    def build_fusion(self, widths: dict[str, int]) -> None:
        """Makes the weights. `widths` is D_m of each modality."""

    def fuse(self, features, masks, presence, training):
        """Combines.

        Args:
            features: As in the call, absent ones replaced; masked tokens are 0.
            masks: Dict of bool `(batch, N_m)`, True for an absent token too; {} for vectors.
            presence: Dict of bool `(batch,)`.
            training: Bool or None.
        """
        raise NotImplementedError

    def fused_shape(self, shapes: dict[str, tuple]) -> tuple:
        """Shape of the result, from those of the features."""
        raise NotImplementedError

    # --- the same for all

    def build(self, features_shape, masks_shape=None, presence_shape=None):
        rank = TAKES[self.takes]
        for other, kind in ((masks_shape, "masks"), (presence_shape, "presence")):
            if other is not None and set(other) != set(features_shape):
                raise ValueError(
                    f"Expected `features` and `{kind}` of the same modalities. Received: "
                    f"{sorted(features_shape)} and {sorted(other)}."
                )
        if masks_shape is not None and self.takes != "tokens":
            raise ValueError(
                f"Expected no `masks`: {type(self).__name__} takes {self.takes}, not tokens. "
                f"Received: masks of {sorted(masks_shape)}."
            )
        for name, shape in features_shape.items():
            if len(shape) != rank or shape[-1] is None:
                wanted = "(batch, tokens, width)" if rank == 3 else "(batch, width)"
                raise ValueError(
                    f"{type(self).__name__} takes {self.takes}: expected shape {wanted} for every "
                    f"modality. Received: {name} of shape {tuple(shape)}."
                )
        self.modalities = sorted(features_shape)
        self._absent = {}
        if presence_shape is not None and self.takes != "logits":
            for name in self.modalities:
                self._absent[name] = self.add_weight(
                    shape=(features_shape[name][-1],),
                    initializer=keras.initializers.RandomNormal(stddev=0.02),
                    name=f"{name}_absent",
                )
        self.build_fusion({name: features_shape[name][-1] for name in self.modalities})

    def call(self, features, masks=None, presence=None, training=None):
        features = {name: features[name] for name in self.modalities}
        masks = {} if masks is None else {name: masks[name] for name in self.modalities}
        if self.takes == "tokens":
            for name in self.modalities:
                if name not in masks:
                    masks[name] = ops.ones_like(features[name][..., 0], dtype="bool")
        if presence is None:
            first = features[self.modalities[0]]
            here = ops.ones_like(ops.reshape(first, (ops.shape(first)[0], -1))[:, 0], dtype="bool")
            presence = dict.fromkeys(self.modalities, here)
        else:
            presence = {name: presence[name] for name in self.modalities}
            for name in self.modalities:
                features[name], masks = self._stand_in(name, features[name], masks, presence[name])
        for name, mask in masks.items():
            # Not a product: what is masked may be too large for the compute dtype.
            features[name] = ops.where(
                ops.expand_dims(mask, -1), features[name], ops.zeros_like(features[name])
            )
        return self.fuse(features, masks, presence, training)

    def _stand_in(self, name, content, masks, present):
        """A modality's tensor and masks, with the stand-in where it is absent."""
        if self.takes == "logits":
            here = ops.expand_dims(present, -1)
            return ops.where(here, content, ops.zeros_like(content)), masks
        absent = ops.cast(self._absent[name], content.dtype)
        if self.takes == "vectors":
            return ops.where(ops.expand_dims(present, -1), content, absent), masks
        here = ops.expand_dims(present, -1)  # (batch, 1)
        first = ops.equal(ops.arange(ops.shape(content)[1]), 0)
        content = ops.where(ops.expand_dims(here, -1), content, absent)
        return content, {**masks, name: ops.where(here, masks[name], first)}

    def compute_output_shape(self, features_shape, masks_shape=None, presence_shape=None):
        del masks_shape, presence_shape
        return self.fused_shape({name: tuple(s) for name, s in sorted(features_shape.items())})
