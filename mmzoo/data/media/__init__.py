"""Image and audio files to arrays."""
