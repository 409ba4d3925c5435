"""Writes a Keras model as a TF-Hub module."""

from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.files import beside
from mmzoo.hub.contract import CONTRACT_FILE
from mmzoo.hub.resources import find_resources
from mmzoo.hub.store import write_checksums


def publish(model: keras.Model, path, *, card: str | None = None, contract=None) -> Path:
    """Writes a reusable SavedModel that can be run, trained and published again.

    `tensorflow_hub.load`, tf_keras' `hub.KerasLayer(trainable=True)` and `HubLayer` load and
    fine-tune it. It has `__call__(inputs, training=False)`, `variables`,
    `trainable_variables`, `regularization_losses`, `weights` (a dict, by name) and the
    signature `serving_default`.

    Args:
        model: Functional Keras model of one input, or of a dict of inputs.
        path: Folder to write; an old module there is replaced once the new one is written.
        card: Optional model card in Markdown, kept as `assets.extra/README.md`.
        contract: Optional `Contract`, kept as `assets.extra/module.json`.

    Returns:
        `path`. Its `SHA256SUMS` lists the checksum of every file.

    Raises:
        ValueError: If the model is not functional, has no inputs of its own, or `path` holds
            something else than a module.

    Reference:
        The reusable SavedModel interface, tensorflow.org/hub/reusable_saved_models. Differs:
        `weights` is added, so that every weight keeps its name.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(f"Expected a functional keras.Model. Received: {type(model).__name__}.")
    path = Path(path)
    if path.exists() and not (path / "saved_model.pb").exists():
        raise ValueError(f"Expected no folder, or a module to replace. Received: {path}.")
    with beside(path) as target:
        tf.saved_model.save(*_root(model, target), options=_OPTIONS)
        extra = target / "assets.extra"
        if card is not None or contract is not None:
            extra.mkdir()
        if card is not None:
            (extra / "README.md").write_text(card, encoding="utf-8")
        if contract is not None:
            (target / CONTRACT_FILE).write_text(contract.to_json(), encoding="utf-8")
        write_checksums(target)
    return path


# The functions are stored without debug traces, which would name this machine's folders.
_OPTIONS = tf.saved_model.SaveOptions(save_debug_info=False)


def _root(model, target):
    """The object to save, its folder and its signatures."""
    spec = keras.tree.map_structure(
        lambda t: tf.TensorSpec(t.shape, t.dtype, name=t.name), model._inputs_struct
    )

    @tf.function(autograph=False)
    def run(inputs, training=False):
        return model(inputs, training=training)

    functions = [run.get_concrete_function(spec, training=flag) for flag in (False, True)]
    trained = {id(variable) for variable in model.trainable_variables}
    weights = {weight.path: weight.value for weight in model.weights}
    root = tf.train.Checkpoint()
    root.__call__ = run
    root.variables = [weight.value for weight in model.weights]
    root.trainable_variables = [w.value for w in model.weights if id(w) in trained]
    root.weights = weights
    root.regularization_losses = [
        _loss(w) for w in model.trainable_weights if w.regularizer is not None
    ]
    # Dropout's seeds are state of the module, and no weights of a user's.
    seeds = [v for v in model.variables if v.path not in weights]
    root.seeds = [variable.value for variable in seeds]
    root.resources = find_resources(model, functions)
    return root, str(target), {"serving_default": _signature(model, spec)}


def _loss(weight):
    return tf.function(lambda: weight.regularizer(weight.value), input_signature=[])


def _signature(model, spec):
    """Arguments and results by name."""
    specs = {each.name: each for each in tf.nest.flatten(spec)}

    @tf.function(autograph=False)
    def run(**values):
        inputs = keras.tree.map_structure(lambda each: values[each.name], spec)
        outputs = model(inputs, training=False)
        if isinstance(outputs, dict):
            return outputs
        names = [t._keras_history.operation.name for t in model.outputs]
        return dict(zip(names, tf.nest.flatten(outputs), strict=True))

    return run.get_concrete_function(**specs)
