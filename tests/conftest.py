"""Settings that must stand before TensorFlow is imported, for every test."""

import os
import sys
from pathlib import Path

os.environ.update(
    TF_CPP_MIN_LOG_LEVEL="3",
    CUDA_VISIBLE_DEVICES="",  # results must not depend on a GPU that happens to be there
    TF_NUM_INTRAOP_THREADS="2",
    TF_NUM_INTEROP_THREADS="1",
)
tests = str(Path(__file__).parent)
if tests not in sys.path:  # for helpers that test files share
    sys.path.insert(0, tests)


def pytest_collection_modifyitems(items):
    """Files of few and long tests come first: last, they would leave a worker without work."""
    items.sort(key=lambda item: item.path.parent.name not in ("training", "recipes", "pretrained"))
