"""The versions that a result depends on."""

import platform
from importlib import metadata

from mmzoo._version import __version__

PACKAGES = ("tensorflow", "keras", "numpy", "soundfile", "pillow")


def package_versions(packages=PACKAGES) -> dict[str, str]:
    """Returns mmzoo's, Python's and the packages' versions by name."""
    versions = {"mmzoo": __version__, "python": platform.python_version()}
    return {**versions, **{name: metadata.version(name) for name in packages}}
