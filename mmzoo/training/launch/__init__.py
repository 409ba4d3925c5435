"""Command-line arguments, devices and workers of a training run."""
