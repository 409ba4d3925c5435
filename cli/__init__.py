"""The command line, one file a group of commands."""

if __name__ != "mmzoo.cli":
    raise ImportError(
        f"Expected to be imported as `mmzoo.cli`. Received: {__name__!r}, a second copy of "
        "its classes. Install mmzoo (`pip install -e .`) and write `import mmzoo.cli`."
    )
