"""`mmzoo` and `python -m mmzoo`: runs the command line, turns known errors into one line."""

import os
import sys

from mmzoo.quiet import QuietTensorFlow
from mmzoo.stopping import tidy_up_when_asked_to_end


def main() -> None:
    """Runs the command line; exits 0, 1 on an error, 2 on wrong usage, 130 on Ctrl-C.

    After SIGTERM it tidies up and exits 143.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    sys.meta_path.insert(0, QuietTensorFlow())
    tidy_up_when_asked_to_end()
    from mmzoo.cli import app

    try:
        app()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("MMZOO_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        if hasattr(error, "exit_code"):  # a training run tells its supervisor whether to go on
            sys.exit(error.exit_code)
        if not isinstance(error, (ValueError, OSError, AssertionError, RuntimeError, ImportError)):
            print(
                f"({type(error).__name__}: not an error that mmzoo foresaw. Set MMZOO_TRACEBACK=1 "
                "to see where it came from, and report it.)",
                file=sys.stderr,
            )
        sys.exit(1)


if __name__ == "__main__":
    main()
