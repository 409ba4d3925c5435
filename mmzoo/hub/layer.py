"""A TF-Hub module as a Keras 3 layer."""

import re
import shutil
import tempfile
import weakref
from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.compat.internals import in_safe_mode
from mmzoo.hub.handles import parse
from mmzoo.hub.module import TF1, Module, fingerprint, load_module
from mmzoo.hub.resolution import resolve, ships
from mmzoo.hub.running import (
    cast_outputs,
    check_strategy,
    fit_inputs,
    pick_output,
    run,
    run_one_by_one,
)
from mmzoo.hub.weights import NamedWeights, check_same


@keras.saving.register_keras_serializable(package="mmzoo")
class HubLayer(NamedWeights):
    """A TF-Hub module: its variables are the layer's own weights, without a copy.

    The module's graph runs as it was saved: dropout and batch normalisation follow `training`
    while the layer is trainable, and are in inference mode while it is not. Made inside
    `strategy.scope()`, its weights are distributed as any other's.

    Args:
        handle: What `mmzoo.hub.resolve` takes: a tfhub.dev URL, a Kaggle handle, a folder, an
            archive, or a module that ships with mmzoo.
        trainable: Whether training changes the weights. May be set later.
        frozen: Regular expressions: weights that stay as they are in a trainable layer; see
            `freeze` and `thaw`.
        signature: Name of a signature to call instead of the module's `__call__`.
        output_key: Key of the one output to return, where the module returns a dict.
        batched: Whether the module takes a batch. False: it takes one waveform `(time,)` and
            is run over the batch; give the waveforms a static length where the model is to
            become a TFLite file. None: as the module's own signature tells.
        embed: Whether a `.keras` archive also holds the module's files, so that it loads
            where the handle can't be resolved. They hold the weights a second time.

    Call arguments:
        inputs: Tensor, or nested structure of tensors, as the module takes it. Numbers are
            cast to the module's dtypes, but floats never to integers; strings `(batch, 1)`
            become `(batch,)`.
        training: Optional bool.

    Returns:
        What the module returns, floats cast to the layer's compute dtype. Of a module that
        takes one waveform, each output gets a batch axis in front.

    Raises:
        ValueError: If the handle is no module, `trainable` is asked of one that can't be
            fine-tuned (TF1 format, signatures only), a pattern matches no weight, the inputs
            don't fit, a trainable layer meets a `tf.distribute` strategy that its weights
            were not made in, or an archive with it is loaded in Keras' safe mode (a module
            is a program; those that ship with mmzoo are trusted).

    Differs: from `tensorflow_hub.KerasLayer`, which Keras 3 refuses. Regularization losses
    count once a step, not once a call.

    Example:

    >>> import numpy as np
    >>> layer = HubLayer("mmzoo/concept128-image/1", trainable=True)
    >>> layer(np.zeros((2, 64, 64, 3), "uint8"))["pooled"].shape
    TensorShape([2, 128])
    >>> frozen = layer.freeze("block[1-4]_.*")
    """

    def __init__(
        self, handle, *, trainable=False, frozen=(), signature=None, output_key=None,
        batched=None, embed=False, saved=None, **kwargs,
    ):  # fmt: skip
        if "string" in str(kwargs.get("dtype")):
            raise ValueError(
                "Expected `dtype` as the dtype of floats, or a policy. Received: "
                f"dtype={kwargs['dtype']!r}. For strings write keras.Input((), dtype='string')."
            )
        super().__init__(trainable=trainable, autocast=False, **kwargs)
        self.handle = str(parse(handle))  # one spelling, and of a folder its whole path
        self.signature = signature
        self.output_key = output_key
        self.batched = batched
        self.embed = bool(embed)
        self._module: Module | None = None
        self._folder: Path | None = None
        self._saved = saved or {}  # what stands in for the module until its files come
        self._fingerprint = self._saved.get("fingerprint")
        calls = keras.saving.deserialize_keras_object(self._saved.get("calls", []))
        self._spec_of_call = {str(known): (known, spec) for known, spec in calls}
        self._outputs_of_length: dict = {}
        folder = self._find()
        if folder is None:
            for name, shape, dtype, trained, _ in self._saved["weights"]:
                zeros = tf.Variable(tf.zeros(shape, dtype), trainable=trained, name=name)
                self._track(name, zeros, trained)
        else:
            self._load(folder)
        if frozen:
            self.freeze(*frozen)
        if trainable and self._refusal():
            raise ValueError(self._refusal())
        self._apply_trainable()
        self.built = True

    @property
    def module(self) -> Module:
        """The loaded module.

        Raises:
            ValueError: If its files are still to come out of a `.keras` archive.
        """
        if self._module is None:
            raise ValueError(
                f"Layer {self.name!r} has no module yet: {self.handle!r} can't be resolved "
                "here, and its files come only with the whole `.keras` archive. Load it with "
                "`keras.models.load_model`."
            )
        return self._module

    def _refusal(self):
        module = getattr(self, "_module", None)
        if module is None or module.fine_tunable:
            return ""
        form = "the TF1 format" if module.kind == TF1 else "signatures only"
        return (
            f"Expected `trainable=False`: {self.handle} is a module of {form}, which runs but "
            "can't be fine-tuned. Received: trainable=True."
        )

    def _regularizers(self):
        return [] if self._module is None else self._module.losses

    # --- the module's files

    def _find(self):
        """The module's folder, or None if an archive is expected to bring it."""
        if not (self.embed and self._saved):
            return resolve(self.handle)
        try:
            folder = resolve(self.handle, offline=True)
        except (OSError, ValueError):
            return None
        return folder if fingerprint(folder) == self._fingerprint else None

    def _load(self, folder):
        found = fingerprint(folder)
        if self._fingerprint and found != self._fingerprint:
            raise ValueError(
                f"Expected the module that layer {self.name!r} was saved with, of fingerprint "
                f"{self._fingerprint[:12]}…. Received: {folder}, of {found[:12]}…: "
                "it was changed since. Put the old one back, or build the model anew and call "
                "its `load_weights` with the archive."
            )
        self._fingerprint, self._folder = found, Path(folder)
        if self.module_weights:
            self._use(self._fill(folder))
            return
        module = load_module(folder, self.signature)
        for name, variable in module.variables.items():
            self._track(name, variable, name in module.trainable)
        self._use(module)

    def _fill(self, folder):
        """Loads the module around the weights that have stood in for it.

        An optimizer may know them already, so they stay the same variables.
        """
        weights = self.module_weights
        values = {name: weight.numpy() for name, weight in weights.items()}
        places = {row[0]: row[4] for row in self._saved["weights"]}
        module = load_module(
            folder, self.signature, {places[name]: weights[name].value for name in weights}
        )
        check_same(
            {name: weight.shape for name, weight in weights.items()},
            {name: variable.shape for name, variable in module.variables.items()},
            f"the module's files for layer {self.name!r}",
        )
        for name, weight in weights.items():
            if module.variables[name] is not weight.value:
                raise ValueError(
                    f"Expected the module's files that layer {self.name!r} was saved with. "
                    f"Received: {folder}, where {name!r} stands at another place."
                )
            weight.assign(values[name])
        return module

    def _use(self, module):
        self._module = module
        if self.batched is False and not module.takes_one_sample:
            raise ValueError(
                f"Expected a module that takes one waveform (time,) for `batched=False`. "
                f"Received: {self.handle}, which takes {module.input_specs}."
            )
        self.supports_jit = module.compiles and not self._one_by_one
        self._apply_trainable()

    @property
    def _one_by_one(self):
        if self.batched is None:
            return self.module.takes_one_sample
        return not self.batched

    # --- the call

    def call(self, inputs, training=None):
        module = self.module
        if self._learns and self._fine_tunable:
            check_strategy(self.module_weights[self._fine_tunable[0]].value, self.name)
        inputs = fit_inputs(inputs, module, self._one_by_one, self.name)
        options = {"training": bool(training) and self._learns} if module.takes_training else {}
        if self._one_by_one:
            outputs = run_one_by_one(module, inputs, options, self._outputs_of_length)
        else:
            outputs = run(module, inputs, options)
        if self.output_key is not None:
            outputs = pick_output(outputs, self.output_key)
        return cast_outputs(outputs, self.compute_dtype, self.name)

    def compute_output_spec(self, inputs, training=None):
        taken = [[list(t.shape), t.dtype] for t in tf.nest.flatten(inputs)]
        if self._module is None and str(taken) in self._spec_of_call:
            return self._spec_of_call[str(taken)][1]
        spec = super().compute_output_spec(inputs, training=training)
        # Without their history, which would name this model's other layers.
        plain = keras.tree.map_structure(lambda t: keras.KerasTensor(t.shape, t.dtype), spec)
        self._spec_of_call[str(taken)] = (taken, plain)
        return spec

    # --- saving

    def save_assets(self, dir_path):
        if not self.embed:
            return
        folder = self._folder
        if folder is None or not folder.exists() or fingerprint(folder) != self._fingerprint:
            raise ValueError(
                f"Expected the module's files as they were loaded, to embed them. Received: "
                f"{folder}, gone or changed. Set `layer.embed = False` to save without them."
            )
        shutil.copytree(folder, Path(dir_path) / "module")

    def load_assets(self, dir_path):
        if self._module is not None or not self.embed:
            return
        # TensorFlow reads a module's assets whenever it is saved again: they stay on disk as
        # long as the layer lives.
        folder = tempfile.mkdtemp(prefix="mmzoo-module-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        shutil.copytree(Path(dir_path) / "module", folder, dirs_exist_ok=True)
        self._load(folder)

    def get_config(self):
        saved = {"fingerprint": self._fingerprint}
        if self.embed:
            places = {row[0]: row[4] for row in self._saved.get("weights", [])}
            if self._module is not None:
                places = self._module.places
            saved["weights"] = [
                [name, list(w.shape), w.dtype, name in self._fine_tunable, places[name]]
                for name, w in self.module_weights.items()
            ]
            calls = [list(call) for call in self._spec_of_call.values()]
            saved["calls"] = keras.saving.serialize_keras_object(calls)
        return {
            **super().get_config(),
            "handle": self.handle,
            "frozen": [re.escape(n) for n in self._fine_tunable if n in self._frozen],
            "signature": self.signature,
            "output_key": self.output_key,
            "batched": self.batched,
            "embed": self.embed,
            "saved": saved,
        }

    @classmethod
    def from_config(cls, config):
        if in_safe_mode() and ships(config["handle"]):
            # The archive's own files are not, whatever handle it gives them.
            layer = cls(**{**config, "embed": False})
            layer.embed = config["embed"]
            return layer
        if in_safe_mode():
            raise ValueError(
                f"Layer {config.get('name')!r} runs the module {config['handle']}, and a "
                "module is a program, which Keras' safe mode does not allow. Where you trust "
                "the file, pass `safe_mode=False` to `keras.models.load_model` "
                "(at the command line: --trust)."
            )
        return cls(**config)
