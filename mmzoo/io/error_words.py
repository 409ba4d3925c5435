"""An exception in words, for a person at the command line."""

import errno

WAYS_OUT = {
    errno.EACCES: "Permission denied: {name}. Look at its owner and its permissions.",
    errno.EPERM: "The system does not allow it: {name}. Look at its owner and its permissions.",
    errno.ENOENT: "No such file or folder: {name}.",
    errno.EISDIR: "Expected a file. Received: {name}, a folder.",
    errno.ENOTDIR: "Expected a folder. Received: {name}, a file, or a path that leads through one.",
    errno.EEXIST: "There is something already: {name}. Name another place.",
    errno.ENOTEMPTY: "The folder is not empty: {name}. Name another place.",
    errno.ENOSPC: "No space is left on the disk: {name}. Free some, or name another place.",
    errno.EDQUOT: "The disk quota is used up: {name}. Free some, or name another place.",
    errno.EROFS: "The disk can only be read: {name}. Name another place.",
    errno.ELOOP: "Too many levels of symbolic links: {name}. Does a link lead to itself?",
    errno.ENAMETOOLONG: "The name is too long: {name}.",
    errno.EMFILE: "Too many open files: {name}. Raise the limit (ulimit -n), or close some.",
    errno.EADDRINUSE: "The address or port is taken: {name}. Choose another one.",
    errno.EADDRNOTAVAIL: "There is no such address here: {name}. Choose another one.",
    errno.EIO: "The disk could not be read or written: {name}. It may be failing.",
    errno.ENOMEM: "Not enough memory: {name}.",
}
FORESEEN = (ValueError, OSError, AssertionError, RuntimeError, ImportError, MemoryError)


def in_words(error: BaseException) -> tuple[str, bool]:
    """What went wrong, in words, and whether it is of a kind that mmzoo foresees.

    Args:
        error: The exception. Of one that the system gives, with a number and the name of a file,
            the words are ours; all others have their own.
    """
    # UnicodeDecodeError and the like are ValueErrors that name no file: whoever reads one says so.
    if isinstance(error, OSError) and error.errno is not None:
        names = [each for each in (error.filename, error.filename2) if each is not None]
        name = " and ".join(_name(each) for each in names)
        said = (error.strerror or type(error).__name__).rstrip(".")
        words = WAYS_OUT.get(error.errno, said + ": {name}.")
        if name:
            return words.format(name=name), True
        return f"{said} (no file is named).", True
    if isinstance(error, MemoryError):
        return f"Not enough memory. {error}".strip(), True
    if isinstance(error, KeyError):  # str() of it is the key alone
        return f"No such key: {error}", False
    return str(error) or type(error).__name__, isinstance(error, FORESEEN)


def _name(name):
    if isinstance(name, bytes):
        name = name.decode(errors="replace")
    return repr(str(name)) if not isinstance(name, int) else f"file descriptor {name}"
