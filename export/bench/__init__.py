"""Benchmarks: what each artifact of a bundle costs beside its bare runtime."""
