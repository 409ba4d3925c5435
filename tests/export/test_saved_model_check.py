"""SavedModels that do more than compute: none is loaded, and no file comes into being."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mmzoo.export.runtimes import operators, stateless
from mmzoo.export.runtimes.c_api import Runtime

raw = tf.raw_ops
SHARED = Path(__file__).parents[2]


def save(folder, act):
    """A SavedModel whose signature does `act(x)`, which may return a float to add."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")], autograph=False)
    def run(x):
        more = act(x)
        number = isinstance(more, tf.Tensor) and more.dtype == tf.float32
        return {"y": x + more if number else x + 1.0}

    root = tf.Module()
    root.weight = tf.Variable(2.0)
    tf.saved_model.save(root, str(folder), signatures={"portable": run})
    return folder


def write(x, target):
    raw.PrintV2(input="stolen", output_stream=f"file://{target}")


def graph(function):
    """A function of the graph's library that writes, for another operator to call."""
    return tf.function(function, autograph=False).get_concrete_function(
        tf.TensorSpec([None], tf.float32)
    )


def in_branch(x, target):
    return tf.cond(x[0] > 0, lambda: (write(x, target), 1.0)[1], lambda: 0.0)


def in_loop(x, target):
    return tf.while_loop(lambda k: k < 1.0, lambda k: (write(x, target), k + 1.0)[1], [0.0])[0]


def in_case(x, target):
    return tf.switch_case(tf.constant(0), [lambda: (write(x, target), 1.0)[1], lambda: 0.0])


def in_nested(x, target):
    inner = tf.function(lambda x: (write(x, target), x)[1], autograph=False)
    return tf.function(lambda x: inner(x) + 1.0, autograph=False)(x)


def in_map(x, target):
    return tf.map_fn(lambda v: (write(v, target), v)[1], x)


def in_dataset(x, target):
    made = tf.data.Dataset.range(3).cache(str(target))
    return tf.cast(made.reduce(np.int64(0), lambda a, b: a + b), tf.float32)


def tf_record(x, target):
    made = tf.data.Dataset.from_tensors("stolen")
    raw.ExperimentalDatasetToTFRecord(
        input_dataset=made._variant_tensor, filename=str(target), compression_type=""
    )


def snapshot(x, target):
    made = tf.data.Dataset.range(3).snapshot(str(target))
    return tf.cast(made.reduce(np.int64(0), lambda a, b: a + b), tf.float32)


def summary(x, target):
    writer = raw.SummaryWriter(shared_name="w", container="")
    raw.CreateSummaryFileWriter(
        writer=writer, logdir=str(target), max_queue=1, flush_millis=1, filename_suffix=""
    )


def restore(x, target):
    [value] = raw.RestoreV2(
        prefix=str(target), tensor_names=["v"], shape_and_slices=[""], dtypes=[tf.float32]
    )
    return value


def table(x, target):
    made = raw.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    raw.InitializeTableFromTextFileV2(
        table_handle=made, filename=str(target), key_index=-2, value_index=-1
    )


def immutable(x, target):
    return raw.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name=str(target))


PLANTED = {
    "PrintV2": write,
    "PrintV2 in If": in_branch,
    "PrintV2 in While": in_loop,
    "PrintV2 in Case": in_case,
    "PrintV2 nested": in_nested,
    "PrintV2 in map_fn": in_map,
    "WriteFile": lambda x, t: tf.io.write_file(str(t), "stolen"),
    "ReadFile": lambda x, t: tf.cast(tf.strings.length(tf.io.read_file(str(t))), tf.float32),
    "MatchingFiles": lambda x, t: tf.cast(tf.size(tf.io.matching_files(str(t))), tf.float32),
    "Save": lambda x, t: raw.Save(filename=str(t), tensor_names=["v"], data=[x]),
    "SaveSlices": lambda x, t: raw.SaveSlices(
        filename=str(t), tensor_names=["v"], shapes_and_slices=[""], data=[x]
    ),
    "SaveV2": lambda x, t: raw.SaveV2(
        prefix=str(t), tensor_names=["v"], shape_and_slices=[""], tensors=[x]
    ),
    "MergeV2Checkpoints": lambda x, t: raw.MergeV2Checkpoints(
        checkpoint_prefixes=[str(t)], destination_prefix=f"{t}2"
    ),
    "RestoreV2": restore,
    "InitializeTableFromTextFileV2": table,
    "ExperimentalDatasetToTFRecord": tf_record,
    "CacheDatasetV2": in_dataset,
    "SnapshotDatasetV2": snapshot,
    "SummaryWriter": summary,
    "ImmutableConst": immutable,
    "DebugIdentity": lambda x, t: raw.DebugIdentity(
        input=x, tensor_name="x:0", debug_urls=[f"file://{t}"]
    ),
    "DebugNanCount": lambda x, t: tf.cast(
        raw.DebugNanCount(input=x, tensor_name="x:0", debug_urls=[f"file://{t}"]), tf.float32
    ),
    "Abort": lambda x, t: raw.Abort(error_msg="", exit_without_error=True),
    "EagerPyFunc": lambda x, t: tf.py_function(lambda v: v, [x], tf.float32),
    "FIFOQueueV2": lambda x, t: raw.FIFOQueueV2(component_types=[tf.float32]),
    "EncodeProto": lambda x, t: raw.EncodeProto(
        sizes=[[1]], values=[[[1]]], field_names=["f"], message_type="m", descriptor_source=str(t)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_operator_is_named_and_nothing_is_written(tmp_path, name):
    target = tmp_path / "target"
    folder = save(tmp_path / "model", lambda x: PLANTED[name](x, target))
    before = sorted(tmp_path.rglob("*"))
    kind = name.split()[0]
    with pytest.raises(ValueError, match=rf"computes and no more.*(?s:.*){kind[:12]}|Dataset"):
        Runtime(folder, "portable")
    assert sorted(tmp_path.rglob("*")) == before and not target.exists()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return save(tmp_path_factory.mktemp("plain") / "model", lambda x: None)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The message of a SavedModel with a function that writes."""
    folder = tmp_path_factory.mktemp("planted")
    save(folder / "model", lambda x: in_nested(x, folder / "target"))
    return saved_model_pb2.SavedModel.FromString((folder / "model/saved_model.pb").read_bytes())


def changed(plain, folder, change):
    shutil.copytree(plain, folder)
    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(model, model.meta_graphs[0])
    path.write_bytes(model.SerializeToString())
    return folder


def swap_saver(model, graph):
    """Saving takes the place of restoring, which a loader runs."""
    name = graph.saver_def.save_tensor_name.split(":")[0]
    graph.saver_def.restore_op_name = name


def save_at_start(model, graph):
    name = graph.saver_def.save_tensor_name.split(":")[0]
    graph.collection_def["saved_model_main_op"].node_list.value[:] = [name]


def save_in_signature(model, graph):
    output = graph.signature_def["portable"].outputs["y"]
    output.name = graph.saver_def.save_tensor_name


def save_as_implementation(model, graph):
    for function in graph.graph_def.library.function:
        function.attr["api_implements"].s = b"same"


def other_prefix(model, graph):
    """Restoring reads a path of the graph's own."""
    node = graph.graph_def.node.add(name="elsewhere", op="Const")
    node.attr["dtype"].type = 7
    node.attr["value"].tensor.dtype = 7
    node.attr["value"].tensor.string_val.append(b"/elsewhere")
    [found] = [n for n in graph.graph_def.node if n.name == graph.saver_def.restore_op_name]
    found.input[0] = "elsewhere"


def function_attribute(model, graph):
    node = graph.graph_def.node.add(name="odd", op="NoOp")
    inner = node.attr["f"].func
    inner.name = graph.graph_def.library.function[0].signature.name
    inner.attr["g"].list.func.add(name="WriteFile")


def default_attribute(model, graph):
    function = graph.graph_def.library.function[0]
    attribute = function.signature.attr.add(name="f", type="func")
    attribute.default_value.func.name = "WriteFile"


def two_of_one_name(model, graph):
    graph.graph_def.library.function.add().CopyFrom(graph.graph_def.library.function[0])


def versioned(model, graph):
    graph.graph_def.node.add(name="later", op="WriteFileV9")


def remote(model, graph):
    node = graph.graph_def.node.add(name="call", op="RemoteCall")
    node.attr["f"].func.name = graph.graph_def.library.function[0].signature.name


def leading_out(model, graph):
    graph.asset_file_def.add(filename="../../outside").tensor_info.name = "x:0"


CHANGES = {
    swap_saver: "writes files|reads other files", save_at_start: "writes files",
    save_in_signature: "writes files",
    save_as_implementation: "writes files|reads other files", other_prefix: "reads other files",
    function_attribute: "calls 'WriteFile'", default_attribute: "names 'WriteFile'",
    two_of_one_name: "two functions of one name", versioned: "WriteFileV9",
    remote: "RemoteCall", leading_out: "leads out",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_graph_is_refused(plain, tmp_path, change):
    folder = changed(plain, tmp_path / "model", change)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"computes and no more.*({CHANGES[change]})"):
        Runtime(folder, "portable")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("how", ["another meta graph", "a gradient", "unreached"])
def test_a_function_that_writes_is_found_wherever_it_is(plain, planted, tmp_path, how):
    def change(model, graph):
        if how == "another meta graph":
            model.meta_graphs.add().CopyFrom(planted.meta_graphs[0])
            model.meta_graphs[-1].meta_info_def.tags[:] = ["train"]
            return
        for function in planted.meta_graphs[0].graph_def.library.function:
            if any(node.op == "PrintV2" for node in function.node_def):
                library = graph.graph_def.library
                library.function.add().CopyFrom(function)
                if how == "a gradient":
                    library.gradient.add(
                        function_name=library.function[0].signature.name,
                        gradient_func=function.signature.name,
                    )

    with pytest.raises(ValueError, match="computes and no more.*PrintV2"):
        Runtime(changed(plain, tmp_path / "model", change), "portable")


@pytest.mark.parametrize(
    "name", ["variables", "variables/variables.index", "assets", "saved_model.pb", "pbtxt"]
)
def test_links_and_other_graphs_are_refused(plain, tmp_path, name):
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    if name == "pbtxt":
        (folder / "saved_model.pbtxt").write_text("")
    else:
        (folder / name).rename(tmp_path / "moved")
        (folder / name).symlink_to(tmp_path / "moved")
    with pytest.raises(ValueError, match="computes and no more.*(a link|saved_model.pbtxt)"):
        Runtime(folder, "portable")


def test_tables_of_the_folders_own_assets_are_filled(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("red\ngreen\n")
    root = tf.Module()
    root.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ), -1,
    )  # fmt: skip

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x")])
    def run(x):
        return {"y": root.table.lookup(x)}

    root.run = run
    folder = tmp_path / "model"
    tf.saved_model.save(root, str(folder), signatures={"portable": run})
    words.unlink()
    runtime = Runtime(folder, "portable")
    found = runtime.run({"x": np.array([b"green", b"blue"], object)})
    assert found["y"].tolist() == [1, -1]
    asset = folder / "assets" / "words.txt"
    asset.rename(tmp_path / "moved")
    asset.symlink_to(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"words.txt is a link"):
        Runtime(folder, "portable")
    asset.unlink()
    (tmp_path / "moved").rename(asset)

    def elsewhere(model, graph):
        del graph.asset_file_def[:]

    with pytest.raises(ValueError, match="reads another file than its own assets"):
        Runtime(changed(folder, tmp_path / "other", elsewhere), "portable")


def test_the_list_is_that_of_the_installed_tensorflow():
    spec = importlib.util.spec_from_file_location(
        "list_operators", SHARED / "tools" / "list_operators.py"
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    if tf.__version__ == stateless.TENSORFLOW:
        # In a fresh process: here another test may have loaded other packages' operators.
        code = "import list_operators; print(*list_operators.stateless_operators())"
        found = subprocess.run(
            [sys.executable, "-c", code], cwd=SHARED / "tools", capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert set(found.stdout.split()) == stateless.STATELESS
    assert len(stateless.STATELESS) > 600
    assert not [name for name in operators.ALLOWED if tool.NOT_PURE.fullmatch(name)]
    assert not operators.STATEFUL & stateless.STATELESS - {"AccumulateNV2"}
    assert all(hasattr(raw, name) for name in operators.STATEFUL)
