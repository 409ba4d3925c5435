"""Whether a graph that is being built has to run anywhere."""

import contextlib
import contextvars

_PORTABLE = contextvars.ContextVar("mmzoo_portable_operators", default=False)


@contextlib.contextmanager
def portable_operators():
    """Inside, layers are traced as plain operators: for a SavedModel, TFLite or ONNX.

    Elsewhere they may use kernels that XLA compiles, which those runtimes don't have.
    """
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def portable() -> bool:
    return _PORTABLE.get()
