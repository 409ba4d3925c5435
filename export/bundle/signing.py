"""Signatures of bundles by a local elliptic key, in sigstore's format; nothing is sent anywhere."""

from pathlib import Path

from mmzoo.export.bundle.checksums import SIGNATURE, changed_sums
from mmzoo.export.bundle.manifest import Bundle, find_bundle, load_bundle
from mmzoo.io.files import atomic_write, sha256

# What is raised for a missing file, no PEM, a password, a key that is not elliptic.
_KEY_ERRORS = (OSError, ValueError, TypeError, AttributeError)


class SignatureError(ValueError):
    """A bundle has no signature, or one that does not fit it and the key."""


def sign_bundle(path, key: str | Path) -> Path:
    """Signs every file of a bundle; the signature stands beside them as `model.sig`.

    Signing says whose a bundle is, not that it is right: run `verify_bundle` first.

    Args:
        path: The bundle, or a run's folder that holds one. An old signature is replaced.
        key: A private key on one of the curves P-256, P-384 and P-521, as PEM without password.

    Returns:
        Path of the signature.

    Raises:
        FileNotFoundError: If there is no bundle.
        ValueError: If the key can't be used, the bundle's files are not as its `SHA256SUMS` says,
            or its certificate does not hold.
        ImportError: If model-signing is not installed.
    """
    bundle = load_bundle(path)
    breaches = changed_sums(bundle.path)
    if bundle.certificate["manifest_sha256"] != sha256(bundle.path / "manifest.json"):
        breaches.append("manifest.json is not the one that was certified")
    if bundle.certificate["holds"] is not True:
        breaches.append("its certificate does not hold")
    if breaches:
        raise ValueError(
            f"Expected a bundle as it was certified, to sign. Received: {bundle.path}: "
            f"{'; '.join(breaches[:8])}. `mmzoo verify` says what is wrong."
        )
    model_signing = _package()
    signer = model_signing.signing.Config().set_hashing_config(_hashing(model_signing))
    try:
        signer.use_elliptic_key_signer(private_key=Path(key))
    except _KEY_ERRORS as error:
        raise ValueError(_no_key(key, "private", error)) from error
    with atomic_write(bundle.path / SIGNATURE) as place:
        signer.sign(bundle.path.resolve(), place)
    return bundle.path / SIGNATURE


def open_bundle(path, public_key: str | Path | None = None) -> Bundle:
    """Reads a bundle, after its signature where a key is given.

    Args:
        path: The bundle, or a run's folder that holds one.
        public_key: Path of the public half of the key that must have signed it: then nothing of
            the bundle is parsed that it did not sign. None: a signature is not checked.

    Raises:
        FileNotFoundError, ValueError: As `load_bundle`.
        SignatureError: If the signature is missing, or does not fit the files and the key.
    """
    folder = find_bundle(path)
    if public_key is not None:
        check_signature(folder, public_key)
    return load_bundle(folder)


def check_signature(folder: Path, public_key: str | Path) -> None:
    """Checks that a bundle's files are those that the holder of a key signed. Runs none of them.

    Args:
        folder: The bundle.
        public_key: The public half of the key, as PEM.

    Raises:
        SignatureError: If there is no signature, or it does not fit the files and the key.
        ValueError: If the key can't be used.
        ImportError: If model-signing is not installed.
    """
    model_signing = _package()
    from cryptography.exceptions import InvalidSignature

    verifier = model_signing.verifying.Config().set_hashing_config(_hashing(model_signing))
    try:
        verifier.use_elliptic_key_verifier(public_key=Path(public_key))
    except _KEY_ERRORS as error:
        raise ValueError(_no_key(public_key, "public", error)) from error
    expected = f"Expected a bundle signed with the private half of {public_key}. Received: {folder}"
    signature = folder / SIGNATURE
    if signature.is_symlink() or not signature.is_file():
        raise SignatureError(f"{expected}, which has no {SIGNATURE}. `mmzoo sign` writes one.")
    try:
        verifier.verify(folder.resolve(), signature.resolve())
    except InvalidSignature as error:
        raise SignatureError(f"{expected}, whose {SIGNATURE} that key did not make.") from error
    # A file that is no signature fails in as many ways as it can be broken.
    except (
        ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, RecursionError,
    ) as error:  # fmt: skip
        raise SignatureError(
            f"{expected}, whose {SIGNATURE} does not fit: {error or type(error).__name__}. "
            "Trust none of its files; get it anew from whoever signed it."
        ) from error


def _package():
    try:
        import model_signing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        raise ImportError(
            "Expected model-signing, which signs bundles and checks signatures. "
            f'`pip install -e ".[signing]"`: {error}'
        ) from error
    return model_signing


def _hashing(model_signing):
    """Every file but the signature, those of git too."""
    return model_signing.hashing.Config().set_ignored_paths(
        paths=[SIGNATURE], ignore_git_paths=False
    )


def _no_key(path, half, error):
    make = "ecparam -name prime256v1 -genkey -noout -out KEY.pem"
    if half == "public":
        make = "ec -in KEY.pem -pubout -out KEY.pub"
    return (
        f"Expected a {half} elliptic key (P-256, P-384 or P-521), PEM without password. "
        f"Received: {path}: {error}. Make one: `openssl {make}`."
    )
