"""Every spelling of a module's name, and the one canonical form behind it. No TensorFlow.

The spelling alone decides what a handle is, never what lies in the current folder, so a run
means the same wherever it starts. `mmzoo/NAME/VERSION`, `tfhub.dev/...` and
`owner/model/tensorFlow2/variation` name modules even where a folder of that name exists:
write `./mmzoo/NAME/VERSION`, or give a `pathlib.Path`, to mean the folder. Any other string
without a scheme is a path.
"""

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import parse_qsl, unquote, urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")  # hosts that are reached over no network
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_FRAMEWORKS = {"tensorflow2": "tensorFlow2", "tensorflow1": "tensorFlow1"}
_OTHER_FRAMEWORKS = ("flax", "jax", "keras", "other", "pytorch", "tfjs", "tflite", "transformers")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")  # so that no part is "..", empty or hidden
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_TFHUB_HOSTS = ("tfhub.dev", "www.tfhub.dev")
_KAGGLE_HOSTS = ("kaggle.com", "www.kaggle.com")


@dataclass(frozen=True)
class Handle:
    """A module's name, parsed.

    Attributes:
        kind: "tfhub", "kaggle", "mmzoo", "folder", "archive" (a local file), "url" or "gs".
        canonical: The one spelling that equal handles share; a path is absolute.
        parts: The names between the slashes, for "tfhub", "kaggle" and "mmzoo".
        version: Int, or None where the handle leaves it open.
        sha256: What `#sha256=...` behind the handle pins, see `mmzoo.hub.cache.digest_of`; "" for
            nothing. The canonical form is without it.
    """

    kind: str
    canonical: str
    parts: tuple[str, ...] = ()
    version: int | None = None
    sha256: str = ""

    def __str__(self) -> str:
        return self.canonical

    @property
    def path(self) -> Path:
        """The local folder or archive."""
        if self.kind not in ("folder", "archive"):
            raise ValueError(f"Expected a local handle. Received: {self.canonical!r}.")
        return Path(self.canonical)

    @property
    def is_archive(self) -> bool:
        """Whether the name ends as an archive's does."""
        return urlsplit(self.canonical).path.lower().endswith(ARCHIVES)

    def spellings(self) -> tuple[str, ...]:
        """The strings that `tensorflow_hub.load` may have been given for this module."""
        if self.kind == "tfhub":
            urls = [f"{scheme}://tfhub.dev/{'/'.join(self.parts)}" for scheme in ("https", "http")]
            urls = [*urls, *(f"{url}/" for url in urls)]
            return (*urls, f"{urls[0]}?tf-hub-format=compressed")
        return _kaggle_urls(self.parts) if self.kind == "kaggle" else (self.canonical,)


def parse(handle: str | os.PathLike | Handle) -> Handle:
    """The canonical form of a handle.

    Args:
        handle: A tfhub.dev URL, a Kaggle handle or URL, `mmzoo/NAME/VERSION`, a path (`~` and
            `file://` too) of a folder or an archive (.tar.gz, .tgz, .tar, .zip), another
            http(s) URL, or `gs://...`. A `pathlib.Path` is always a path.

    Returns:
        A `Handle`. Nothing is looked up: no file, no network.

    Raises:
        TypeError: If it is no string and no path.
        ValueError: If it is empty, of an unknown scheme, or not as its host spells handles.

    Example:
        >>> str(parse("tfhub.dev/google/yamnet/1/"))
        'https://tfhub.dev/google/yamnet/1'
        >>> str(parse("https://www.kaggle.com/models/google/yamnet/TensorFlow2/yamnet/1"))
        'kaggle://google/yamnet/tensorFlow2/yamnet/1'
    """
    if isinstance(handle, Handle):
        return handle
    if isinstance(handle, PurePath):
        return _local(str(handle))
    if not isinstance(handle, str):
        raise TypeError(
            f"`handle` must be a string or a pathlib.Path. Received: {handle!r} of type "
            f"{type(handle).__name__}."
        )
    text = handle.strip()
    if not text or "\0" in text or "\n" in text:
        raise ValueError(f"`handle` must be one line of text. Received: {handle!r}.")
    text, mark, pin = text.partition("#sha256=")
    if mark:
        if not re.fullmatch("[0-9a-fA-F]{64}", pin):
            raise ValueError(
                f"Expected #sha256= and 64 hexadecimal digits. Received: {handle!r}. "
                "`mmzoo hub info` prints those of a module."
            )
        return dataclasses.replace(parse(text), sha256=pin.lower())
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*)://", text)
    if scheme:
        return _with_scheme(text, scheme[1].lower())
    first, *rest = text.split("/")
    if rest and first.lower() in (*_TFHUB_HOSTS, *_KAGGLE_HOSTS):
        return _with_scheme(f"https://{text}", "https")
    if first == "mmzoo":
        return _mmzoo(text)
    if len(rest) in (3, 4) and rest[1].lower() in (*_FRAMEWORKS, *_OTHER_FRAMEWORKS):
        return _kaggle(text.split("/"), text)
    return _local(text)


def _with_scheme(text, scheme):
    if scheme == "kaggle":
        return _kaggle(text[len("kaggle://") :].strip("/").split("/"), text)
    if scheme == "file":
        return _file(text)
    if scheme == "gs":
        bucket, _, name = text[len("gs://") :].rstrip("/").partition("/")
        if not bucket or not name:
            raise ValueError(f"Expected gs://BUCKET/PATH. Received: {text!r}.")
        return Handle("gs", f"gs://{bucket}/{name}")
    if scheme not in ("http", "https"):
        raise ValueError(
            f"Expected a handle that starts with https://, kaggle://, gs:// or file://, "
            f"or a path. Received: {text!r}."
        )
    url = urlsplit(text)
    host = (url.hostname or "").lower()
    if not host:
        raise ValueError(f"Expected a URL with a host. Received: {text!r}.")
    if host in _TFHUB_HOSTS:
        return _tfhub(url, text)
    if host in _KAGGLE_HOSTS:
        return _kaggle_page(url, text)
    if scheme == "http" and host not in LOOPBACK:
        raise ValueError(
            f"Expected https://. Received: {text!r}. Over http:// anybody on the way can put "
            "another program in the module's place. Use https://, or download it and give the file."
        )
    authority = url.netloc.lower() if "@" not in url.netloc else url.netloc
    query = f"?{url.query}" if url.query else ""
    return Handle("url", f"{scheme}://{authority}{url.path.rstrip('/') or '/'}{query}")


def _tfhub(url, text):
    for key, value in parse_qsl(url.query):
        if key in ("lite-format", "tfjs-format") or (
            key == "tf-hub-format" and value not in ("compressed", "uncompressed")
        ):
            raise ValueError(
                f"Expected the handle of a SavedModel. Received: {text!r}, which asks for "
                f"{key}={value}. Leave that part out."
            )
    parts = url.path.strip("/").split("/")
    version = int(parts[-1]) if _VERSION.fullmatch(parts[-1]) else None
    names = parts[: len(parts) - (version is not None)]
    if len(names) < 2 or names[0] == "s" or not all(map(_NAME.fullmatch, names)):
        raise ValueError(f"Expected https://tfhub.dev/PUBLISHER/MODEL/VERSION. Received: {text!r}.")
    if names[1] == "collections":
        raise ValueError(
            f"Expected one module. Received: {text!r}, which is a list of modules. Pick one."
        )
    return Handle("tfhub", f"https://tfhub.dev/{'/'.join(parts)}", tuple(parts), version)


def _kaggle_page(url, text):
    """`/models/...` as the site spells it, in the short, the long and the download form."""
    parts = url.path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        parts = parts[2:]
    if parts[0] != "models":
        raise ValueError(f"Expected a Kaggle URL under /models/. Received: {text!r}.")
    parts = parts[1:-1] if parts[-1] == "download" else parts[1:]
    labels = {2: "frameworks", 4: "variations", 6: "versions"}
    if len(parts) > 2 and parts[2] == "frameworks":
        if any(i < len(parts) and parts[i] != label for i, label in labels.items()):
            raise _not_kaggle(text)
        parts = [part for i, part in enumerate(parts) if i not in labels]
    return _kaggle(parts, text)


def _kaggle(parts, text):
    if len(parts) not in (4, 5) or not all(map(_NAME.fullmatch, parts)):
        raise _not_kaggle(text)
    owner, model, framework, variation = parts[:4]
    if framework.lower() in _OTHER_FRAMEWORKS:
        raise ValueError(
            f"Expected a SavedModel, so the framework tensorFlow2 or tensorFlow1. Received: "
            f"{text!r}, which is {framework}. Pick another variation of the model."
        )
    if framework.lower() not in _FRAMEWORKS or not _VERSION.fullmatch(
        (parts[4:] and parts[4]) or "1"
    ):
        raise _not_kaggle(text)
    version = int(parts[4]) if len(parts) == 5 else None
    parts = (owner, model, _FRAMEWORKS[framework.lower()], variation, *parts[4:])
    return Handle("kaggle", f"kaggle://{'/'.join(parts)}", parts, version)


def _not_kaggle(text):
    return ValueError(
        "Expected kaggle://OWNER/MODEL/tensorFlow2/VARIATION/VERSION (the version may be left "
        f"out). Received: {text!r}. The model's page shows the handle under Use this model."
    )


def _kaggle_urls(parts):
    owner, model, framework, variation, *version = parts
    title = framework[0].upper() + framework[1:]  # as the site shows it
    short = [(host, case) for host in ("www.", "") for case in (title, framework)]
    urls = [
        "/".join((f"https://{host}kaggle.com/models", owner, model, case, variation, *version))
        for host, case in (*short, ("www.", framework.lower()))
    ]
    for case in (title, framework):
        top = f"https://www.kaggle.com/models/{owner}/{model}/frameworks/{case}"
        urls.append("/versions/".join((f"{top}/variations/{variation}", *version)))
    return tuple(urls)


def _mmzoo(text):
    parts = text.rstrip("/").split("/")
    if (
        len(parts) != 3
        or not re.fullmatch(r"[a-z0-9][a-z0-9\-]*", parts[1])
        or not _VERSION.fullmatch(parts[2])
    ):
        raise ValueError(
            f"Expected mmzoo/NAME/VERSION, as `mmzoo hub list` shows them. Received: {text!r}. "
            f"For a folder of that name write './{text}'."
        )
    return Handle("mmzoo", "/".join(parts), tuple(parts), int(parts[2]))


def _file(text):
    url = urlsplit(text)
    if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
        raise ValueError(f"Expected file:///ABSOLUTE/PATH, three slashes. Received: {text!r}.")
    path = unquote(url.path)
    drive = re.match(r"/[A-Za-z]:/", path)  # file:///C:/models
    return _local(path[1:] if drive and os.name == "nt" else path)


def _local(text):
    path = os.path.abspath(os.path.expanduser(text))
    return Handle("archive" if path.lower().endswith(ARCHIVES) else "folder", path)
