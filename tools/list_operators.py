"""Writes the list of TensorFlow operators that only compute: export/runtimes/stateless.py.

Run:     python tools/list_operators.py
Expect:  no change, unless another TensorFlow is installed. Review what is new in the list:
         an operator belongs there only if all that it does is to compute its outputs.
"""

import re
import textwrap
from pathlib import Path

PLACE = Path(__file__).parents[1] / "export" / "runtimes" / "stateless.py"

# Stateless in TensorFlow's registry, and yet more than a computation.
NOT_PURE = re.compile(
    # They read or write files, or the address in an attribute.
    r"ReadFile|MatchingFiles|ImmutableConst|GenerateVocabRemapping|(En|De)codeProto(V2)?|"
    r"Debug.*|Copy(Host)?|CustomAggregator|"
    # Datasets read and write files, and build graphs from strings.
    r".*Dataset.*|.*Iterator.*|GetElementAtIndex|GetOptions|WindowOp|ComputeBatchSize|"
    r"(Unc|C)ompressElement|"
    # They run other code, or end the process.
    r"PyFuncStateless|XlaLaunch.*|XlaCustomCall.*|MlirPassthroughOp|SymbolicGradient|"
    r"Batch|Unbatch|UnbatchGrad|BatchFunction|Abort|"
    # Written for TensorBoard, for training alone, or for TensorFlow's own tests.
    r".*Summary(V2)?|Sdca.*|CheckPinned|ConstructionFails|Fact|GetDeadline|"
    r"KernelLabel(Required)?|Old"
)


def stateless_operators() -> set[str]:
    """Operators of the installed TensorFlow that hold no state and run on a processor."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.framework import kernels

    content = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    runs = {
        kernel.op
        for kernel in kernels.get_all_registered_kernels().kernel
        if kernel.device_type in ("CPU", "DEFAULT")
    }
    return {
        op.name
        for op in op_def_pb2.OpList.FromString(content).op
        if not op.is_stateful
        and op.name in runs
        and re.fullmatch("[A-Z][A-Za-z0-9]*", op.name)  # "_Send" is TensorFlow's own affair
        and not any(arg.is_ref for arg in (*op.input_arg, *op.output_arg))
        and not NOT_PURE.fullmatch(op.name)
    }


def main() -> None:
    import tensorflow as tf

    names = "\n".join(textwrap.wrap(" ".join(sorted(stateless_operators())), 96))
    PLACE.write_text(
        '"""Operators that hold no state and only compute. Written by tools/list_operators.py."""\n'
        f'\nTENSORFLOW = "{tf.__version__}"\n_NAMES = """\n{names}\n"""\n'
        "STATELESS = frozenset(_NAMES.split())\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
