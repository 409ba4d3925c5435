"""A SavedModel as a function of tensors: what it takes, its variables and its losses."""

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from mmzoo.hub.inline_function import can_inline
from mmzoo.io.files import sha256

REUSABLE, SIGNATURE, TF1 = "reusable", "signature", "TF1"


@dataclass
class Module:
    """A loaded SavedModel.

    Attributes:
        root: What `tf.saved_model.load` returned. Its variables live as long as it does.
        kind: "reusable" (it can be called and trained), "signature" (no `__call__`) or "TF1"
            (made by TF-Hub's first format).
        function: Takes the inputs, and `training` if `takes_training`.
        takes_training: Whether the function has an argument `training`.
        input_specs: Nested structures of `tf.TensorSpec`: the inputs it was traced for.
        output_spec: Nested structure of `tf.TensorSpec` that it returns.
        concrete: Its concrete functions.
        variables: Dict of unique name to `tf.Variable`.
        trainable: Names of those that training may change.
        losses: Regularization losses: functions of no argument.
        places: Dict of name to the variable's place among all that loading makes, which is
            the same each time.
    """

    root: Any
    kind: str
    function: Any
    takes_training: bool
    input_specs: list
    output_spec: Any
    concrete: list
    variables: dict[str, tf.Variable] = field(default_factory=dict)
    trainable: list[str] = field(default_factory=list)
    losses: list = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    @property
    def fine_tunable(self) -> bool:
        return self.kind == REUSABLE

    @functools.cached_property
    def can_inline(self) -> list:
        """Those of its concrete functions that `inline_call` can run."""
        return [concrete for concrete in self.concrete if can_inline(concrete)]

    @property
    def compiles(self) -> bool:
        """Whether XLA may compile it: it has no strings, even inside, and no lookup table."""
        for concrete in self.concrete:
            graph = concrete.graph.as_graph_def()
            for nodes in (graph.node, *(each.node_def for each in graph.library.function)):
                for node in nodes:
                    types = [v.type for v in node.attr.values()]
                    types += [t for v in node.attr.values() for t in v.list.type]
                    if tf.string.as_datatype_enum in types or "LookupTable" in node.op:
                        return False
        return True

    @property
    def takes_one_sample(self) -> bool:
        """Whether the function takes one waveform `(time,)` instead of a batch."""
        specs = [spec for spec in self.input_specs if isinstance(spec, tf.TensorSpec)]
        return bool(specs) and all(
            spec.dtype.is_floating and spec.shape.rank == 1 for spec in specs
        )


def load_module(
    folder: Path, signature: str | None = None, existing: dict[int, tf.Variable] | None = None
) -> Module:
    """Loads a SavedModel into the current `tf.distribute` strategy.

    Args:
        folder: Folder that holds `saved_model.pb`.
        signature: Name of the signature to call. None: `__call__` where there is one, else
            the signature "default" or "serving_default", or the only one.
        existing: Variables to take instead of new ones, by their place (`Module.places`).
            They get the values that the files hold.

    Returns:
        The `Module`.

    Raises:
        ValueError: If the folder is no SavedModel that TensorFlow can load, or there is no
            such signature.
    """
    folder = Path(folder)
    tf1 = (folder / "tfhub_module.pb").exists()
    made: list[tf.Variable] = []

    def make(following, **options):
        variable = (existing or {}).get(len(made))
        made.append(following(**options) if variable is None else variable)
        return made[-1]

    def load():
        made.clear()
        with tf.variable_creator_scope(make):
            return tf.saved_model.load(os.fspath(folder), tags=[] if tf1 else None)

    try:
        try:
            root = load()
        except (RuntimeError, tf.errors.NotFoundError) as error:
            if "Op type not registered" not in str(error):
                raise
            import tensorflow_text  # noqa: F401  registers its operators

            root = load()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, tf.errors.OpError) as error:
        needs = ""
        if "Op type not registered" in str(error) or isinstance(error, ImportError):
            needs = " It needs operators of another package, such as `pip install tensorflow-text`."
        raise ValueError(
            f"Expected a SavedModel that TensorFlow {tf.__version__} can load. Received: "
            f"{folder}. TensorFlow answered: {error}{needs}"
        ) from error
    module = _reusable(root) if signature is None and callable(root) else None
    module = module or _signature(root, signature, folder, tf1)
    places = {id(variable): place for place, variable in enumerate(made)}
    module.places = {name: places.get(id(v), -1) for name, v in module.variables.items()}
    return module


def _signature(root, signature, folder, tf1):
    signatures = dict(getattr(root, "signatures", {}))
    name = _signature_name(signatures, signature, folder)
    concrete = signatures[name]
    spec = dict(concrete.structured_input_signature[1])
    variables = getattr(root, "variables", None) or concrete.variables
    if callable(variables):
        variables = variables()
    return Module(
        root=root,
        kind=TF1 if tf1 else SIGNATURE,
        function=_by_name(concrete, name),
        takes_training=False,
        input_specs=[spec, *spec.values()] if len(spec) == 1 else [spec],
        output_spec=concrete.structured_outputs,
        concrete=[concrete],
        variables=_named(variables),
    )


def _reusable(root):
    function = root.__call__
    concrete = function.concrete_functions
    if any(len(each.structured_input_signature[0]) == 0 for each in concrete):
        raise ValueError(
            "Expected a module whose `__call__` takes its inputs as the first argument. Received: "
            f"{concrete[0].structured_input_signature}. Name a `signature` of it instead."
        )
    taken = [each.structured_input_signature[0][0] for each in concrete]
    specs = [spec for number, spec in enumerate(taken) if spec not in taken[:number]]
    # A bare tf.Module keeps no list, and a list may lack what the functions read: a counter,
    # say. All is state of the module; only a published one's random seeds are nobody's weights.
    variables = {id(v): v for v in getattr(root, "variables", None) or []}
    seeds = {id(v) for v in getattr(root, "seeds", None) or []}
    for each in concrete:
        variables |= {id(v): v for v in each.graph.variables if id(v) not in seeds}
    trainable = getattr(root, "trainable_variables", None)
    names = getattr(root, "weights", None)  # of a published module; else anything
    names = names if isinstance(names, Mapping) else {}
    found = _named(variables.values(), {id(value): key for key, value in names.items()})
    chosen = set(variables) if trainable is None else {id(v) for v in trainable}
    return Module(
        root=root,
        kind=REUSABLE,
        function=function,
        takes_training="training" in function.function_type.parameters,
        input_specs=specs,
        output_spec=concrete[0].structured_outputs if concrete else None,
        concrete=list(concrete),
        variables=found,
        trainable=[name for name, v in found.items() if v.trainable and id(v) in chosen],
        losses=list(getattr(root, "regularization_losses", None) or []),
    )


def _signature_name(signatures, asked, folder):
    if asked is not None:
        choices = [asked] if asked in signatures else []
    else:
        choices = [name for name in ("default", "serving_default") if name in signatures]
        choices = choices or (list(signatures) if len(signatures) == 1 else [])
    if not choices:
        raise ValueError(
            f"Expected a module with `__call__`, or `signature` as one of {sorted(signatures)}. "
            f"Received: signature={asked!r} for {folder}."
        )
    return choices[0]


def _by_name(concrete, name):
    """Calls a signature with a dict, or with the tensor of its only argument."""
    keys = sorted(concrete.structured_input_signature[1])

    def call(inputs):
        if not isinstance(inputs, dict):
            inputs = {keys[0]: inputs} if len(keys) == 1 else {}
        if sorted(inputs) != keys:
            raise ValueError(
                f"Expected a dict with the keys {keys}, as signature {name!r} has them. "
                f"Received: {sorted(inputs)}."
            )
        return concrete(**inputs)

    return call


def _named(variables, names=None):
    """Dict of unique name to variable, in the module's order."""
    found: dict[str, tf.Variable] = {}
    for variable in variables:
        base = (names or {}).get(id(variable)) or variable.name.partition(":")[0]
        name, number = base, 0
        while name in found:
            number += 1
            name = f"{base}_{number}"
        found[name] = variable
    return found


def dotted(name: str) -> str:
    """A weight's name where "/" would mean a group: in HDF5, and to Keras."""
    return name.replace(".", "..").replace("/", ".")


def fingerprint(folder: Path) -> str:
    """SHA-256, in hexadecimal, of what a SavedModel computes but for its variables."""
    folder = Path(folder)
    digest = hashlib.sha256((folder / "saved_model.pb").read_bytes())
    for file in sorted((folder / "assets").rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(folder)} {sha256(file)}".encode())
    return digest.hexdigest()
