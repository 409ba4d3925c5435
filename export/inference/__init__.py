"""One record through an artifact, in its own runtime."""
