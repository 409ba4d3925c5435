"""Files, locks, error messages and dtypes; needs no TensorFlow."""
