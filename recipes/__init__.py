"""Runnable recipes, one a file."""

if __name__ != "mmzoo.recipes":
    raise ImportError(
        f"Expected to be imported as `mmzoo.recipes`. Received: {__name__!r}, a second copy of "
        "its classes. Install mmzoo (`pip install -e .`) and write `import mmzoo.recipes`."
    )
