"""Weights that have names of their own: frozen, thawed, saved and restored by them."""

import re
import warnings

import keras
import numpy as np
import tensorflow as tf

from mmzoo.hub.module import dotted

_STATISTICS = r"(moving|running)_(mean|variance|var|average)"  # of batch normalisation


class NamedWeights(keras.layers.Layer):
    """A layer around variables that somebody else made and named.

    Every weight keeps its whole name ("block1/conv/kernel") in `module_weights`, in saved files
    and in checkpoints. Not to be used by itself.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._fine_tunable: list[str] = []
        self._frozen: set[str] = set()
        self.module_weights: dict[str, keras.Variable] = {}

    @property
    def weight_names(self) -> list[str]:
        """The module's own names of its weights, the keys of every way to save them."""
        return list(self.module_weights)

    @property
    def statistics(self) -> list[str]:
        """Names of the means and variances that the module itself moves while it learns."""
        if not self._learns:
            return []
        return [name for name in self.module_weights if re.search(_STATISTICS, name)]

    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        # No error here: a whole model may be thawed that holds a module which can't train.
        refused = self._refusal() if value else ""
        if refused:
            warnings.warn(f"{refused} It stays frozen.", stacklevel=3)
        self._trainable = bool(value) and not refused
        self._apply_trainable()

    def freeze(self, *patterns: str) -> list[str]:
        """Keeps weights as they are in training. Compile the model again afterwards.

        Args:
            *patterns: Regular expressions for whole names, as `weight_names` has them.

        Returns:
            The names that matched. While others still train, the module runs in training mode
            as a whole: moving averages of a frozen block's batch normalisation move on.

        Raises:
            ValueError: If a pattern matches no trainable weight.
        """
        names = self._matching(patterns)
        self._frozen.update(names)
        self._apply_trainable()
        return names

    def thaw(self, *patterns: str) -> list[str]:
        """Undoes `freeze`, with the same arguments, result and error."""
        names = self._matching(patterns)
        self._frozen.difference_update(names)
        self._apply_trainable()
        return names

    def _matching(self, patterns):
        found = []
        for pattern in patterns:
            names = [name for name in self._fine_tunable if re.fullmatch(pattern, name)]
            if not names:
                raise ValueError(
                    f"Expected a pattern that matches a trainable weight of layer "
                    f"{self.name!r}. Received: {pattern!r}. The weights are {self._fine_tunable}."
                )
            found += names
        return list(dict.fromkeys(found))

    def _apply_trainable(self):
        trained = []
        for name in self._fine_tunable:
            weight = self.module_weights[name]
            weight.trainable = self.trainable and name not in self._frozen
            weight.regularizer = None
            trained += [weight] * weight.trainable
        # A layer's loss is added at each call; a weight's counts once however often it is
        # called, and only while there is something to train.
        if trained and self._regularizers():
            trained[0].regularizer = self._regularization

    @property
    def _learns(self) -> bool:
        """Whether it runs in training mode: trainable, and not frozen by name as a whole."""
        weights = [self.module_weights[name] for name in self._fine_tunable]
        return self.trainable and (not weights or any(weight.trainable for weight in weights))

    def _refusal(self) -> str:
        """Why the layer can't be trainable, in words; "" if it can."""
        return ""

    def _regularizers(self) -> list:
        """Losses of the weights together, as functions of no argument."""
        return []

    def _regularization(self, weight):
        del weight
        return tf.add_n([tf.cast(loss(), "float32") for loss in self._regularizers()])

    def _track(self, name, value, trained):
        if any(dotted(known) == dotted(name) for known in self.module_weights):
            raise ValueError(f"Expected weights of names apart. Received: {name!r}, too alike.")
        weight = keras.Variable(value, trainable=trained, name=dotted(name))
        self.module_weights[name] = weight
        self._track_trackable(weight, f"weight.{name}")  # how tf.train.Checkpoint names it
        if trained:
            self._fine_tunable.append(name)

    def save_own_variables(self, store):
        # "/" would be a group in HDF5.
        for name, weight in self.module_weights.items():
            store[dotted(name)] = weight

    def load_own_variables(self, store):
        names = {dotted(name): name for name in self.module_weights}
        keys = list(store.keys())
        values = {names.get(key, key): np.asarray(store[key]) for key in keys}
        check_same(
            {name: weight.shape for name, weight in self.module_weights.items()},
            {name: value.shape for name, value in values.items()},
            f"layer {self.name!r}",
        )
        for name, weight in self.module_weights.items():
            weight.assign(values[name])


def check_same(expected: dict, received: dict, where: str) -> None:
    """Raises ValueError unless two dicts of name to shape agree."""
    problems = [f"missing: {name}" for name in expected if name not in received]
    problems += [f"unexpected: {name}" for name in received if name not in expected]
    problems += [
        f"{name}: expected shape {tuple(shape)}, received {tuple(received[name])}"
        for name, shape in expected.items()
        if name in received and tuple(shape) != tuple(received[name])
    ]
    if problems:
        raise ValueError(
            f"Expected the weights of {where}, by name and shape. {len(problems)} differ:\n  "
            + "\n  ".join(problems)
        )
