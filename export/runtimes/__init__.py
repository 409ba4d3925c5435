"""One module a runtime, each run in a fresh process by `mmzoo.export.runtimes.process`.

Nothing here imports TensorFlow's Python package.
"""
