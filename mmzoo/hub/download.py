"""Fetching a module over the network, by whichever client its host needs."""

import contextlib
import os
import shutil
import urllib.request
from pathlib import Path

from mmzoo.hub.archives import ArchiveError, unpack
from mmzoo.hub.cache import module_folder
from mmzoo.hub.handles import Handle, parse
from mmzoo.hub.store import adding

_TIMEOUT = 60  # seconds without a byte
_SIZE = 32 << 30  # bytes of an archive


def download(handle: Handle) -> Path:
    """Fetches a module that no cache holds.

    Args:
        handle: A "kaggle" handle goes through kagglehub. A "url" or "gs" that ends as an
            archive does is fetched and unpacked here, within limits. "tfhub", and a URL that
            ends otherwise, speak TF-Hub's protocol, through tensorflow_hub. A "gs" folder is
            copied.

    Returns:
        The module's folder, in the cache of the client that fetched it.

    Raises:
        ImportError: If the client is not installed; names the pip line.
        ArchiveError: If what came is too large, or not to be unpacked.
        Exception: Whatever the client raises where there is no network or no such module.
    """
    if handle.kind == "kaggle":
        return _by_kagglehub(handle)
    if handle.kind == "gs":
        return _from_bucket(handle)
    return _by_http(handle) if handle.is_archive else _by_tensorflow_hub(handle)


def _by_tensorflow_hub(handle):
    try:
        with contextlib.redirect_stdout(None):  # it prints an ImportError's advice there
            import tensorflow_hub
    except ImportError as error:
        raise ImportError(
            f"tensorflow_hub fetches {handle} and can't be imported: {error}. It needs "
            "pkg_resources, which setuptools 82 dropped, and tf_keras: "
            'pip install "setuptools<82" tensorflow-hub tf_keras'
        ) from error
    folder = tensorflow_hub.resolve(str(handle))
    if "://" in folder:
        raise OSError(
            f"Expected a folder from tensorflow_hub. Received: {folder}. Unset "
            "$TFHUB_MODEL_LOAD_FORMAT, and set $TFHUB_CACHE_DIR to a local folder."
        )
    return Path(folder)


def _by_kagglehub(handle):
    try:
        import kagglehub
    except ImportError as error:
        raise ImportError(
            f"kagglehub fetches {handle} and is not installed: pip install kagglehub"
        ) from error
    return Path(kagglehub.model_download("/".join(handle.parts)))


def _by_http(handle):
    target = module_folder(handle)
    with adding(target) as folder:
        archive = folder.parent / "archive"
        request = urllib.request.Request(str(handle), headers={"User-Agent": "mmzoo"})
        opener = urllib.request.build_opener(_StaysPrivate)
        with opener.open(request, timeout=_TIMEOUT) as answer:
            _receive(answer, archive, answer.headers.get("Content-Length"), handle)
        unpack(archive, folder / "module", name=str(handle))
    return target


class _StaysPrivate(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to https:// alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        try:
            parse(newurl)
        except ValueError as error:
            raise OSError(f"{req.full_url} sends on to {newurl!r}. {error}") from error
        if not newurl.lower().startswith(("https://", "http://")):
            raise OSError(f"{req.full_url} sends on to {newurl!r}. Expected https://.")
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise OSError(f"{req.full_url} sends on from https:// to {newurl!r}.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(source, path, length, handle):
    length = int(length) if length and length.isdecimal() else None
    if length is not None and length > _SIZE:
        raise ArchiveError(f"Expected at most {_SIZE:,} bytes. {handle} has {length:,}.")
    received = 0
    with path.open("wb") as out:
        while block := source.read(1 << 20):
            received += len(block)
            if received > _SIZE:
                raise ArchiveError(f"Expected at most {_SIZE:,} bytes. {handle} has more.")
            out.write(block)
    if length is not None and received != length:
        raise ConnectionError(f"{handle} broke off after {received:,} of {length:,} bytes")


def _from_bucket(handle):
    import tensorflow as tf

    target = module_folder(handle)
    with adding(target) as folder:
        if handle.is_archive:
            archive = folder.parent / "archive"
            with tf.io.gfile.GFile(str(handle), "rb") as source, archive.open("wb") as out:
                shutil.copyfileobj(source, out)
            unpack(archive, folder / "module", name=str(handle))
        else:
            _copy_tree(tf.io.gfile, str(handle), folder / "module")
    return target


def _copy_tree(gfile, source, folder):
    os.mkdir(folder)
    for name in (entry.rstrip("/") for entry in gfile.listdir(source)):
        path = f"{source}/{name}"
        if "/" in name or name in ("", ".", ".."):
            raise OSError(f"Expected names of one part in {source}. Received: {name!r}.")
        if gfile.isdir(path):
            _copy_tree(gfile, path, folder / name)
        else:
            gfile.copy(path, str(folder / name))
