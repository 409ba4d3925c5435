"""Private parts of Keras and TensorFlow that mmzoo uses, in one place.

Each has a test in `tests/compat`, which says what broke where an upgrade breaks one.
"""
