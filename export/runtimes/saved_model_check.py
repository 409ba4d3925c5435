"""Refuses a SavedModel that does more than compute, before TensorFlow loads it.

Every operator of every graph and function must be on the list of `operators`. Three kinds that
touch files are in SavedModels as `tf.saved_model.save` writes them, and are allowed in that
shape alone:
- saving is reachable from the saver's own node only, which no loader runs;
- restoring is reachable from the saver's restoring node only, and reads the path that the loader
  feeds: `variables/variables` of the folder;
- a table is filled from a file in the initialisation only, and the file is an asset of the folder.
"""

from pathlib import Path

from mmzoo.export.runtimes.operators import ALLOWED, RESTORE, SAVE, TABLE_FROM_FILE
from mmzoo.io.regular_files import check_regular_files, read_regular

LARGEST_GRAPH = 2**31  # bytes: no protocol buffer is larger
LONGEST_WAY = 200  # nodes between a file's name and where it is used
_INIT = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def check_saved_model(path: Path) -> None:
    """Raises ValueError unless a SavedModel computes and no more. Nothing of it is run.

    TensorFlow's message classes must be importable.
    """
    fault = _fault(Path(path))
    if fault:
        raise ValueError(
            f"Expected a SavedModel that computes and no more. Received: {path}, {fault}. It was "
            "not loaded. Export the model again without what needs it, and trust a SavedModel of "
            "others no more than a program of theirs."
        )


def _fault(path):
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    for name in ("saved_model.pbtxt", "saved_model.cpb"):
        if (path / name).exists():
            return f"with {name}, which loaders may read in place of saved_model.pb"
    try:
        check_regular_files(path)
        content = read_regular(path / "saved_model.pb", LARGEST_GRAPH)
        model = saved_model_pb2.SavedModel.FromString(content)
    except FileNotFoundError:
        return "where there is no saved_model.pb"
    except DecodeError as error:
        return f"whose saved_model.pb is cut or damaged ({error})"
    except ValueError as error:
        return f"where {error}"
    return next((fault for each in model.meta_graphs if (fault := _Graph(each, path).fault())), "")


def _functions_of(attributes):
    """Names of all functions in the values of attributes, however deeply nested."""
    for value in attributes:
        for function in (value.func, *value.list.func):
            if function.name:
                yield function.name
            yield from _functions_of(function.attr.values())


def _tensor(name):
    """`node:0` of a tensor's name, whose index may be left out."""
    return name if ":" in name else f"{name}:0"


class _Graph:
    """One meta graph, as places: None is the graph itself, a name one of its functions."""

    def __init__(self, meta, path):
        self.meta, self.path = meta, path
        library = meta.graph_def.library
        self.functions = {f.signature.name: f for f in library.function}
        self.nodes = {node.name: node for node in meta.graph_def.node}
        self.repeated = len(self.functions) < len(library.function) or len(self.nodes) < len(
            meta.graph_def.node
        )
        # What TensorFlow may put in a function's place: its gradient, its other implementation.
        self.others: dict[str, set] = {}
        for gradient in library.gradient:
            self.others.setdefault(gradient.function_name, set()).add(gradient.gradient_func)
        alike: dict[bytes, set] = {}
        for name, function in self.functions.items():
            if "api_implements" in function.attr:
                alike.setdefault(function.attr["api_implements"].s, set()).add(name)
        for names in alike.values():
            for name in names:
                self.others.setdefault(name, set()).update(names)
        self.assets = {_tensor(a.tensor_info.name) for a in meta.asset_file_def}

    def fault(self):
        if self.repeated:
            return "with two nodes or two functions of one name"
        saver = self.meta.saver_def
        signatures = self.meta.signature_def
        starting = [info.name for info in signatures[_INIT].outputs.values()] \
            if _INIT in signatures else []  # fmt: skip
        for name in _INIT_COLLECTIONS:
            if name in self.meta.collection_def:
                starting += self.meta.collection_def[name].node_list.value
        asked = [
            text
            for name, signature in signatures.items()
            if name != _INIT
            for side in (signature.inputs, signature.outputs)
            for info in side.values()
            for text in _names_of(info)
        ]
        asked = self._reach(asked)
        starting = self._reach(starting)
        restoring = self._reach([saver.restore_op_name])
        saving = self._reach([saver.save_tensor_name])
        for where, node in self._everything():
            at = f"operator {node.op!r} (the node {node.name!r} of " + (
                f"the function {where!r})" if where else "the graph)"
            )
            place = where or (None, node.name)
            for name in _functions_of(node.attr.values()):
                if name not in self.functions and name not in ALLOWED:
                    return f"whose {at} calls {name!r}, which is not known to compute alone"
            if node.op in self.functions or node.op in ALLOWED:
                continue
            if node.op in SAVE:
                if place in saving and place not in asked | starting | restoring:
                    continue
                return f"with the {at}, which writes files when the model is loaded or run"
            if node.op in RESTORE:
                path = {_tensor(saver.filename_tensor_name)}
                alone = place in restoring and place not in asked | starting | saving
                if alone and self._comes_from(where, node, 0, path):
                    continue
                return f"with the {at}, which reads other files than its own variables"
            if node.op in TABLE_FROM_FILE:
                alone = place in starting and place not in asked | restoring | saving
                if alone and self._comes_from(where, node, 1, self.assets):
                    continue
                return f"with the {at}, which reads another file than its own assets"
            return f"with the {at}, which is not known to compute and no more"
        for function in self.functions.values():
            for name in self._named_by(function):
                if name not in self.functions and name not in ALLOWED:
                    return (
                        f"whose function {function.signature.name!r} names {name!r}, which is "
                        "not known to compute alone"
                    )
        for asset in self.meta.asset_file_def:
            parts = Path(asset.filename).parts
            if Path(asset.filename).is_absolute() or ".." in parts or "\\" in asset.filename:
                return f"whose asset {asset.filename!r} leads out of the folder"
            if not (self.path / "assets" / asset.filename).is_file():
                return f"whose asset {asset.filename!r} is missing"
        return ""

    def _everything(self):
        for node in self.nodes.values():
            yield None, node
        for name, function in self.functions.items():
            for node in function.node_def:
                yield name, node

    @staticmethod
    def _named_by(function):
        yield from _functions_of(function.attr.values())
        for arguments in function.arg_attr.values():
            yield from _functions_of(arguments.attr.values())
        yield from _functions_of(each.default_value for each in function.signature.attr)

    def _reach(self, names):
        """Places that run when these tensors or nodes are asked for."""
        found: set = set()
        waiting = [self.nodes.get(name.lstrip("^").split(":")[0]) for name in names]
        functions: list = []
        while waiting or functions:
            if waiting:
                node = waiting.pop()
                if node is None or (None, node.name) in found:
                    continue
                found.add((None, node.name))
                waiting += [self.nodes.get(name.lstrip("^").split(":")[0]) for name in node.input]
                functions += [node.op, *_functions_of(node.attr.values())]
                continue
            name = functions.pop()
            if name in found or name not in self.functions:
                continue
            found.add(name)
            function = self.functions[name]
            functions += [*self.others.get(name, ()), *self._named_by(function)]
            for node in function.node_def:  # all of them: what has an effect runs unasked
                functions += [node.op, *_functions_of(node.attr.values())]
        return found

    def _comes_from(self, where, node, index, sources, seen=None):
        """Whether an input can only be one of the graph's tensors that the loader feeds."""
        inputs = [name for name in node.input if not name.startswith("^")]
        seen = set() if seen is None else seen
        if index >= len(inputs) or len(seen) > LONGEST_WAY:
            return False
        if (where, node.name, index) in seen:
            return True  # as what is found for it elsewhere says
        seen.add((where, node.name, index))
        name = inputs[index]
        if where is None:
            if _tensor(name) in sources:
                return True
            made = self.nodes.get(name.split(":")[0])
            if made is None:
                return False
            if made.op == "Identity":
                return self._comes_from(None, made, 0, sources, seen)
            return made.op == "ReadVariableOp" and self._holds(made, sources, seen)
        function = self.functions[where]
        arguments = [argument.name for argument in function.signature.input_arg]
        if name in arguments:
            return self._called_with(where, arguments.index(name), sources, seen)
        made = next((n for n in function.node_def if n.name == name.split(":")[0]), None)
        return (
            made is not None
            and made.op == "Identity"
            and self._comes_from(where, made, 0, sources, seen)
        )

    def _called_with(self, function, index, sources, seen):
        """Whether every call of a function gives it one of the sources at this argument."""
        for argument in self.functions[function].signature.input_arg:
            if argument.number_attr or argument.type_list_attr:
                return False  # arguments and inputs are not one to one
        called = False
        for where, node in self._everything():
            names = list(_functions_of(node.attr.values()))
            if node.op != function and function not in names:
                continue
            plain = node.op == function or (node.op in _CALLS and node.attr["f"].func.name in names)
            if not plain or names.count(function) > 1:
                return False
            if not self._comes_from(where, node, index, sources, seen):
                return False
            called = True
        return called

    def _holds(self, read, sources, seen):
        """Whether a variable of the graph is only ever given one of the sources."""
        handle = self.nodes.get(read.input[0].split(":")[0]) if read.input else None
        if handle is None or handle.op != "VarHandleOp":
            return False
        given = False
        for where, node in self._everything():
            other = node.op == "VarHandleOp" and node is not handle
            if other and _shared_name(node) == _shared_name(handle):
                return False
            if where or handle.name not in {name.split(":")[0] for name in node.input}:
                continue
            if node.op == "AssignVariableOp":
                if not self._comes_from(None, node, 1, sources, seen):
                    return False
                given = True
            elif node.op not in ("ReadVariableOp", "VarIsInitializedOp"):
                return False
        return given


def _shared_name(node):
    return node.attr["container"].s, node.attr["shared_name"].s or node.name.encode()


def _names_of(info):
    """Every tensor of an entry of a signature: a sparse or composite one is of several."""
    yield info.name
    sparse = info.coo_sparse
    yield from (sparse.values_tensor_name, sparse.indices_tensor_name)
    yield sparse.dense_shape_tensor_name
    for part in info.composite_tensor.components:
        yield from _names_of(part)
