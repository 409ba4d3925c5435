"""An ARM machine in a folder: Debian's libraries and Python, LiteRT's wheels, and an emulator.

Nothing is installed, and no rights are needed: apt-get and pip only download, by the settings
that this machine has, and packages are unpacked below one folder.
"""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mmzoo
from mmzoo.io.files import atomic_write

PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
WHEELS = ("ai-edge-litert", "numpy")  # in the versions that are installed here
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
CORE = "cortex-a76"  # as in many a phone
# LiteRT asks /proc/cpuinfo which operators this processor has; the emulator shows it this file.
CPUINFO = """processor\t: {core}
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0b
CPU revision\t: 1

"""


class NoArm(RuntimeError):
    """The ARM machine could not be put together; says what was lacking."""


def default_cache() -> Path:
    """`$MMZOO_ARM`, else `~/.cache/mmzoo/arm`."""
    return Path(os.environ.get("MMZOO_ARM") or Path.home() / ".cache" / "mmzoo" / "arm")


def arm_python(cache: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command and the environment of a Python on ARM, which has mmzoo's runtimes.

    Args:
        cache: Where its files are, or are put: some 200 MB.

    Raises:
        NoArm: If it is not there and can't be fetched.
    """
    versions = "-".join(f"{name}-{metadata.version(name)}" for name in WHEELS)
    folder = cache / versions
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder) as place:
            place.mkdir()
            _fetch(place)
    emulator = shutil.which("qemu-aarch64-static") or folder / "host/qemu-aarch64-static"
    [python] = (folder / "root/usr/bin").glob("python3.[0-9]*[0-9]")
    own = Path(mmzoo.__file__).parent
    for file in ("__init__.py", "_version.py"):
        _copy(own / file, folder / "site/mmzoo" / file)
    export = Path(sys.modules["mmzoo.export"].__file__ or "").parent
    for file in [export / "__init__.py", *(export / "runtimes").glob("*.py")]:
        _copy(file, folder / "site/mmzoo/export" / file.relative_to(export))
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    environment = {**kept, "PYTHONPATH": str(folder / "site"), "QEMU_CPU": CORE}
    return (str(emulator), "-L", str(folder / "root"), str(python), "-P"), environment


def _copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _fetch(folder):
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NoArm(
                f"Expected {tool}, of Debian or Ubuntu, to fetch an ARM Python. Found none."
            )
    if not shutil.which("qemu-aarch64-static"):
        (folder / "host").mkdir()
        _run("apt-get", "download", "qemu-user-static", cwd=folder / "host")
        [package] = (folder / "host").glob("*.deb")
        _run("dpkg-deb", "-x", package, folder / "all")
        (folder / "all/usr/bin/qemu-aarch64-static").rename(folder / "host/qemu-aarch64-static")
        shutil.rmtree(folder / "all")  # the emulators of thirty other processors
        package.unlink()
    apt = folder / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True)
    (apt / "status").touch()  # of an empty machine: all that is needed is fetched
    settings = {
        "Dir::State": apt / "state", "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache", "APT::Architecture": "arm64", "APT::Architectures": "arm64",
        "APT::Sandbox::User": "", "Debug::NoLocking": "1",
    }  # fmt: skip
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    _run("apt-get", *options, "update")
    _run("apt-get", *options, "install", "--yes", "--download-only", "--no-install-recommends",
         *PACKAGES)  # fmt: skip
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        _run("dpkg-deb", "-x", package, folder / "root")
    shutil.rmtree(apt)
    (folder / "root/proc").mkdir(exist_ok=True)
    cores = "".join(CPUINFO.format(core=core) for core in range(os.cpu_count() or 1))
    (folder / "root/proc/cpuinfo").write_text(cores)
    pythons = sorted(path.name for path in (folder / "root/usr/bin").glob("python3.[0-9]*[0-9]"))
    if len(pythons) != 1:
        raise NoArm(f"Expected one Python among Debian's packages. Found: {pythons}.")
    _run(
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--only-binary=:all:", *(f"--platform={name}" for name in PLATFORMS),
        f"--python-version={pythons[0].removeprefix('python')}", "--dest", folder / "wheels",
        *(f"{name}=={metadata.version(name)}" for name in WHEELS),
    )  # fmt: skip
    for wheel in (folder / "wheels").glob("*.whl"):
        shutil.unpack_archive(wheel, folder / "site", "zip")
    shutil.rmtree(folder / "wheels")


def _run(*command, cwd=None):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True,
                          errors="replace")  # fmt: skip
    if done.returncode:
        last = " | ".join([line for line in done.stderr.splitlines() if line.strip()][-3:])
        raise NoArm(f"Expected `{command[0]}` to fetch an ARM Python. It said: {last}")
