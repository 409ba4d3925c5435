"""The certificate: every artifact run in its own runtime and compared with Keras."""
