"""An ONNX file that takes texts as strings, by the operators of onnxruntime-extensions."""

import dataclasses
from pathlib import Path

from mmzoo.export.convert.onnx_writer import OPSET
from mmzoo.pretrained.text_ids import SentencePieceIds

BYTES = "UTF-8 bytes"
PIECES = "SentencePiece"
DOMAIN = "ai.onnx.contrib"
HEADER = f'<ir_version: 9, opset_import: ["": {OPSET}, "{DOMAIN}": 1]>'

# A trie of the 256 bytes, which gives byte + 1, and 0 behind a row's end.
BYTES_FRONT = f"""{HEADER} bytes_of (string[batch] text) => (uint8[batch, length] tokens) {{
    one = Constant <value = int64 {{1}}> ()
    zero = Constant <value = int64 {{0}}> ()
    more = {DOMAIN}.TrieTokenizer (text)
    less = Sub (more, one)
    values = Max (less, zero)
    bytes = Cast <to = 2> (values)
    axis = Constant <value = int64[1] {{1}}> ()
    width = Shape <start = 1, end = 2> (bytes)
    missing = Sub (axis, width)
    none = Constant <value = int64[1] {{0}}> ()
    lacking = Max (missing, none)
    pads = Concat <axis = 0> (none, none, none, lacking)
    tokens = Pad (bytes, pads)
}}"""

# A row is `first, pieces, last, 0, 0, ...`: what `mmzoo.pretrained.text_ids.TextIds` makes.
PIECES_FRONT = f"""{HEADER} pieces_of (
    string[batch] text, int64 room, int64 least_width, int64 least, int32 first, int32 last
) => (int32[batch, length] tokens) {{
    nbest = Constant <value = int64[1] {{0}}> ()
    alpha = Constant <value = float[1] {{0.0}}> ()
    no = Cast <to = 9> (nbest)
    pieces, bounds = {DOMAIN}.SentencepieceTokenizer (text, nbest, alpha, no, no, no)
    zero = Constant <value = int64 {{0}}> ()
    one = Constant <value = int64 {{1}}> ()
    two = Constant <value = int64 {{2}}> ()
    from_0 = Constant <value = int64[1] {{0}}> ()
    from_1 = Constant <value = int64[1] {{1}}> ()
    to_last = Constant <value = int64[1] {{-1}}> ()
    to_end = Constant <value = int64[1] {{9223372036854775807}}> ()
    starts = Slice (bounds, from_0, to_last)
    ends = Slice (bounds, from_1, to_end)
    all_counts = Sub (ends, starts)
    counts = Min (all_counts, room)
    longest = ReduceMax <keepdims = 0> (counts)
    width = Max (longest, least_width)
    row_width = Add (width, two)
    places = Range (zero, row_width, one)
    piece = Sub (places, one)
    column = Unsqueeze (starts, from_1)
    count_column = Unsqueeze (counts, from_1)
    wished = Add (column, piece)
    total = Size (pieces)
    not_before = Max (wished, zero)
    index = Min (not_before, total)
    none = Cast <to = 6> (from_0)
    padded = Concat <axis = 0> (pieces, none)
    found = Gather (padded, index)
    behind_first = Less (zero, places)
    before_end = Less (piece, count_column)
    is_piece = And (behind_first, before_end)
    no_id = Constant <value = int32 {{0}}> ()
    inner = Where (is_piece, found, no_id)
    is_first = Equal (places, zero)
    with_first = Where (is_first, first, inner)
    length = Max (count_column, least)
    last_place = Add (length, one)
    is_last = Equal (places, last_place)
    tokens = Where (is_last, last, with_first)
}}"""


@dataclasses.dataclass(frozen=True)
class Front:
    """What makes the tensor that a model takes of one string input.

    Attributes:
        name: Of the string input, and of the tensor.
        kind: BYTES or PIECES.
        layer: Of PIECES: the layer that does the same in the Keras model.
    """

    name: str
    kind: str
    layer: SentencePieceIds | None = None


def write_onnx_strings(source: Path, path: Path, fronts: list[Front]) -> Path:
    """Puts operators that read strings in front of an ONNX file.

    Args:
        source: A file that takes UTF-8 bytes or token ids.
        path: File to write.
        fronts: One a text input.

    Returns:
        `path`.
    """
    import onnx

    model = onnx.load(source)
    graph = model.graph
    nodes, constants = [], []
    for front in fronts:
        inner = f"{front.name}/tokens"
        _rename(graph, front.name, inner)
        made = _front(front)
        nodes += made.node
        constants += made.initializer
        [place] = [k for k, value in enumerate(graph.input) if value.name == front.name]
        graph.input[place].CopyFrom(
            onnx.helper.make_tensor_value_info(front.name, onnx.TensorProto.STRING, ["batch"])
        )
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _front(front):
    """The graph of one text's operators; its tensors are named after the text."""
    import onnx
    from onnx import helper

    if front.kind == BYTES:
        model = onnx.parser.parse_model(BYTES_FRONT)
        vocabulary = "\n".join(f"{byte + 1} b'\\x{byte:02x}' 1" for byte in range(256))
        attribute = helper.make_attribute("vocab", vocabulary)
        values = {}
    else:
        model = onnx.parser.parse_model(PIECES_FRONT)
        layer = front.layer
        attribute = helper.make_attribute("model", layer._model)
        room = layer.max_length - 2
        values = {
            "room": room, "least_width": room if layer.padding == "max_length" else 1,
            "least": layer._least_pieces, "first": layer.first, "last": layer.last,
        }  # fmt: skip
    graph = model.graph
    [tokenizer] = [node for node in graph.node if node.domain == DOMAIN]
    tokenizer.attribute.append(attribute)
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    graph.initializer.extend(
        helper.make_tensor(name, types[name], [], [value]) for name, value in values.items()
    )
    names = {name for node in graph.node for name in (*node.input, *node.output)} - {"text"}
    for name in names:
        _rename(graph, name, f"{front.name}/{name}")
    _rename(graph, "text", front.name)
    return graph


def _rename(graph, old, new):
    """Renames a tensor wherever operators read or write it, in branches and loops too."""
    for node in graph.node:
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                if name == old:
                    names[k] = new
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _rename(inner, old, new)
    for tensor in graph.initializer:
        if tensor.name == old:
            tensor.name = new
