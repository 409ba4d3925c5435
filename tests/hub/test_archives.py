"""What comes over a network is unpacked inside its folder, whole, within limits, or not at all."""

import gzip
import io
import os
import tarfile
import zipfile

import pytest

from mmzoo.hub.archives import ArchiveError, Limits, unpack

FILES = {"saved_model.pb": b"graph" * 100, "variables/variables.index": b"index"}


def tar_file(path, members, mode="w:gz"):
    """A tar of (TarInfo or name, bytes) pairs."""
    with tarfile.open(path, mode) as tar:
        for info, data in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_file(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for info, data in members:
            file.writestr(info, data)
    return path


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_unpacks_whatever_its_name(tmp_path, mode):
    path = tmp_path / "module.bin"
    if mode == "zip":
        zip_file(path, FILES.items())
    else:
        tar_file(path, FILES.items(), mode)
    assert unpack(path, tmp_path / "new" / "module") == tmp_path / "new" / "module"
    assert contents(tmp_path / "new" / "module") == FILES
    assert os.listdir(tmp_path / "new") == ["module"]


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = zip_file(tmp_path / "inner.zip", [("a", b"inside")])
    path = tar_file(tmp_path / "m.tar", [("a", b"outside"), ("z.zip", inner.read_bytes())], "w")
    assert (unpack(path, tmp_path / "m") / "a").read_bytes() == b"outside"


def test_dots_and_folders_that_are_there_twice_are_fine(tmp_path):
    members = [
        (special(".", tarfile.DIRTYPE), b""), (special("./variables", tarfile.DIRTYPE), b""),
        ("./variables/a", b"1"), (special("variables/", tarfile.DIRTYPE), b""), ("b/../c", b"2"),
    ]  # fmt: skip
    assert contents(unpack(tar_file(tmp_path / "m.tgz", members), tmp_path / "m")) == {
        "variables/a": b"1", "c": b"2",
    }  # fmt: skip


def test_links_to_files_inside_become_copies(tmp_path):
    members = [
        ("assets/vocab.txt", b"words"), (special("assets/v1", tarfile.SYMTYPE, "vocab.txt"), b""),
        (special("v2", tarfile.SYMTYPE, "assets/../assets/vocab.txt"), b""),
        (special("v3", tarfile.LNKTYPE, "assets/vocab.txt"), b""),
    ]  # fmt: skip
    folder = unpack(tar_file(tmp_path / "m.tgz", members), tmp_path / "m")
    assert set(contents(folder).values()) == {b"words"} and len(contents(folder)) == 4
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_modes_and_owners_are_not_taken_over(tmp_path):
    info = tarfile.TarInfo("tool")
    info.mode, info.uid = 0o6777, 0
    path = unpack(tar_file(tmp_path / "m.tgz", [(info, b"#!")]), tmp_path / "m") / "tool"
    assert path.stat().st_mode & 0o7111 == 0


LEADS_OUT = "expected names inside the archive. The"
NO_FILE = "expected a link to a file of the archive. Member"


@pytest.mark.parametrize(
    "members, message",
    [
        ([("../evil", b"x")], f"{LEADS_OUT} member '../evil' leads out"),
        ([("a/../../evil", b"x")], LEADS_OUT),
        ([("/etc/evil", b"x")], LEADS_OUT),
        ([("C:/evil", b"x")], LEADS_OUT),
        ([("a\\..\\..\\evil", b"x")], LEADS_OUT),
        ([(special("l", tarfile.SYMTYPE, "../evil"), b"")], "The link to '../evil', of member 'l'"),
        ([(special("l", tarfile.SYMTYPE, "/etc/passwd"), b"")], "The link to '/etc/passwd'"),
        ([(special("l", tarfile.LNKTYPE, "../evil"), b"")], "The link to '../evil'"),
        ([(special("l", tarfile.SYMTYPE, "."), b""), ("l/evil", b"x")], "a file and a folder|link"),
        ([(special("d", tarfile.DIRTYPE), b""), (special("l", tarfile.SYMTYPE, "d"), b"")],
         NO_FILE),
        ([(special("l", tarfile.SYMTYPE, "gone"), b"")], NO_FILE),
        ([(special("l", tarfile.SYMTYPE, "m"), b""), (special("m", tarfile.SYMTYPE, "l"), b"")],
         NO_FILE),
        ([(special("pipe", tarfile.FIFOTYPE), b"")], "Member 'pipe' is a special file"),
        ([(special("disk", tarfile.BLKTYPE), b"")], "expected files and folders. Member 'disk'"),
        ([("a", b"1"), ("./a", b"2")], "member './a' is there twice"),
        ([("a", b"1"), ("a/b", b"2")], "a file and a folder at once"),
        ([("a", b"1"), (special("a/b", tarfile.LNKTYPE, "first"), b"")], "file and a folder at on"),
    ],
)  # fmt: skip
def test_what_could_do_harm_is_refused_and_leaves_nothing(tmp_path, members, message):
    home = tmp_path / "home"
    home.mkdir()
    path = tar_file(tmp_path / "m.tgz", [("first", b"ok"), *members])
    with pytest.raises(ArchiveError, match=message):
        unpack(path, home / "cache" / "m")
    assert contents(home) == {}
    assert not (tmp_path / "evil").exists()


def test_zips_are_held_to_the_same_rules(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    for member, message in ((("../evil", b""), LEADS_OUT), ((link, b"/etc/passwd"), "is a link")):
        with pytest.raises(ArchiveError, match=message):
            unpack(zip_file(tmp_path / "m.zip", [member]), tmp_path / "m")
    path = zip_file(tmp_path / "m.zip", [("a", b"secret" * 9)])
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags: encrypted
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="member 'a' is encrypted"):
        unpack(path, tmp_path / "m")


def test_limits(tmp_path):
    path = tar_file(tmp_path / "m.tgz", [(str(i), bytes(1000)) for i in range(10)])
    assert unpack(path, tmp_path / "fits", limits=Limits(10_000, 10, 1000.0, 0)).is_dir()
    for limits, message in [
        (Limits(size=9_999), "expected at most 9,999 bytes"),
        (Limits(members=9), "expected at most 9 members"),
        (Limits(ratio=2.0, ratio_from=1000), "It holds more. Unpack it by hand if you trust it"),
    ]:
        with pytest.raises(ArchiveError, match=message):
            unpack(path, tmp_path / "m", limits=limits)
        assert sorted(os.listdir(tmp_path)) == ["fits", "m.tgz"]


def test_copies_made_of_links_count_too(tmp_path):
    links = [(special(f"l{i}", tarfile.SYMTYPE, "a"), b"") for i in range(10)]
    path = tar_file(tmp_path / "m.tgz", [("a", bytes(1000)), *links])
    with pytest.raises(ArchiveError, match="expected at most 5,000 bytes"):
        unpack(path, tmp_path / "m", limits=Limits(size=5000))


def test_a_zip_that_lies_about_its_sizes_is_counted(tmp_path):
    path = zip_file(tmp_path / "m.zip", [("a", bytes(100_000))])
    data = path.read_bytes().replace((100_000).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="It is cut or damaged|It holds more"):
        unpack(path, tmp_path / "m", limits=Limits(size=50_000))


@pytest.mark.parametrize("name", ["m.tgz", "m.tar", "m.zip"])
@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_cut_archives_are_named(tmp_path, name, keep):
    members = [(str(i), os.urandom(5000)) for i in range(4)]
    path = tmp_path / name
    if name == "m.zip":
        zip_file(path, members)
    else:
        tar_file(path, members, "w:gz" if name == "m.tgz" else "w")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ArchiveError, match=f"{name}.*cut"):
        unpack(path, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_damaged_archives_are_named(tmp_path):
    path = tar_file(tmp_path / "m.tgz", [("a", os.urandom(100_000))])
    data = bytearray(path.read_bytes())
    data[50_000] ^= 255
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="It is cut or damaged: fetch it again"):
        unpack(path, tmp_path / "m")


def test_what_is_no_archive_is_named(tmp_path):
    page = tmp_path / "m.tar.gz"
    for data in (b"<html>Sign in</html>", b"", gzip.compress(b"<html>")):
        page.write_bytes(data)
        with pytest.raises(ArchiveError, match="look whether that gives a page"):
            unpack(page, tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="gone.zip, which does not exist"):
        unpack(tmp_path / "gone.zip", tmp_path / "m")
    tar_file(page, FILES.items())
    (tmp_path / "m").mkdir()
    with pytest.raises(FileExistsError, match="Expected a new folder. Received"):
        unpack(page, tmp_path / "m")
