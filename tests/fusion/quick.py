"""What the quick tests of a fusion export to; the slow ones export to every format."""

QUICK = ("tflite",)
