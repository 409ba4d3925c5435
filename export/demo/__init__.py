"""A bundle in a browser: one page, served to this computer alone, in which its model answers.

`onnxruntime-web` runs the bundle's ONNX file as WebAssembly. Its answers were compared with
those of `onnxruntime` in Python, for every subset of the modalities, to 1e-4 of a probability:
see `tests/export/test_demo_page.py`.
"""
