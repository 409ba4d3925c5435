"""Arguments of a recipe's command line."""

import argparse


def some_of(known, everything="", keep=False):
    """A type for `argparse`: comma separated names, each of `known`, in its order.

    `everything`: the word that stands for all of them, if there is one; `keep`: it is returned.
    """

    def check(text):
        if keep and text == everything:
            return text
        names = set(known if everything and text == everything else text.split(","))
        if not names <= set(known):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}")
        return tuple(name for name in known if name in names)

    return check


def positive_int(text):
    """A type for `argparse`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected a positive int")
    return int(text)


def pairs(text):
    """A type for `argparse`: `name=value,name=value` to a dict."""
    found = [pair.partition("=") for pair in text.split(",") if pair]
    if not all(name and sign and value for name, sign, value in found):
        raise argparse.ArgumentTypeError("expected name=value,name=value")
    return {name: value for name, _, value in found}
