"""`mmzoo` and `python -m mmzoo`: runs the command line, turns errors into one line."""

import os
import sys

from mmzoo.io.error_words import in_words
from mmzoo.io.quiet import QuietTensorFlow
from mmzoo.io.stopping import tidy_up_when_asked_to_end

DEBUG = "MMZOO_DEBUG"


def main() -> None:
    """Runs the command line; exits 0, 1 on an error, 2 on wrong usage, 130 on Ctrl-C.

    After SIGTERM it tidies up and exits 143.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    sys.meta_path.insert(0, QuietTensorFlow())
    tidy_up_when_asked_to_end()
    if sys.argv[1:2] == ["--debug"]:  # before a command, so that it needs no place in each
        del sys.argv[1]
        os.environ[DEBUG] = "1"
    try:
        from mmzoo.cli.app import app

        app()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Who reads our output has gone, as `head` does; Python would say so once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        code = getattr(error, "exit_code", 1)  # a training run tells its supervisor by it
        words, foreseen = in_words(error)
        print(words if code == 130 else f"error: {words}", file=sys.stderr)
        if not foreseen and code == 1:
            print(
                f"({type(error).__name__}: not an error that mmzoo foresaw. `mmzoo --debug …` "
                "shows where it came from; please report it.)",
                file=sys.stderr,
            )
        sys.exit(code)


if __name__ == "__main__":
    main()
