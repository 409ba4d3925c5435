"""Signed bundles: what a signature lets through, and all that it must not."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from keras import layers

from mmzoo.export import export_bundle, load_bundle, verify_bundle
from mmzoo.export.bench import checks
from mmzoo.export.bench.runner import bench_bundle
from mmzoo.export.bundle import exporter
from mmzoo.export.bundle.checksums import changed_sums, write_sums
from mmzoo.export.bundle.manifest import check_bundle_place
from mmzoo.export.bundle.signing import SignatureError, check_signature, sign_bundle
from mmzoo.export.demo.command import serve_demo
from mmzoo.export.demo.plan import read_demo
from mmzoo.export.embed import embed_corpus
from mmzoo.export.inference.prediction import predict_sample
from mmzoo.export.samples.samples import Samples


def write_key(folder, name, private, password=None):
    encryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    (folder / f"{name}.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
    )
    (folder / f"{name}.pub").write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    write_key(folder, "ours", ec.generate_private_key(ec.SECP256R1()))
    write_key(folder, "other", ec.generate_private_key(ec.SECP384R1()))
    write_key(folder, "locked", ec.generate_private_key(ec.SECP256R1()), b"secret")
    write_key(folder, "rsa", rsa.generate_private_key(65537, 2048))
    write_key(folder, "curve", ec.generate_private_key(ec.SECP256K1()))
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two bundles, of models that differ in their weights alone."""
    folder = tmp_path_factory.mktemp("signing")
    rng = np.random.default_rng(0)
    samples = Samples({"x": rng.standard_normal((20, 6), "float32")}, rng.integers(0, 4, 20))
    for seed, name in enumerate(("one", "two")):
        keras.utils.set_random_seed(seed)
        x = keras.Input((6,), name="x")
        made = layers.Dense(4, activation="softmax", name="probability")(x)
        export_bundle(
            keras.Model({"x": x}, {"probability": made}, name="signing"), folder / name / "bundle",
            samples=samples, formats=["tflite"],
        )  # fmt: skip
    return folder


@pytest.fixture
def signed(exported, keys, tmp_path):
    copy = shutil.copytree(exported / "one" / "bundle", tmp_path / "bundle")
    assert sign_bundle(copy, keys / "ours.pem") == copy / "model.sig"
    return copy


def test_a_signed_bundle_verifies_with_its_key_and_without(signed, keys, tmp_path):
    assert verify_bundle(signed, keys / "ours.pub").certificate["holds"]
    assert verify_bundle(signed).certificate["holds"]
    assert changed_sums(signed) == []
    checks.checked_samples(load_bundle(signed))
    signed.rename(tmp_path / "renamed")
    (tmp_path / "link").symlink_to(tmp_path / "renamed")
    check_signature(tmp_path / "renamed", keys / "ours.pub")
    check_signature(tmp_path / "link", keys / "ours.pub")


def test_the_other_curves_sign_too(signed, keys):
    sign_bundle(signed, keys / "other.pem")  # in the place of the old signature
    check_signature(signed, keys / "other.pub")
    with pytest.raises(SignatureError, match="ours.pub.*does not fit: Key mismatch"):
        check_signature(signed, keys / "ours.pub")
    assert sorted(p.name for p in signed.glob("*.sig")) == ["model.sig"]
    assert not list(signed.glob(".*"))


def change(signed, exported, keys):
    file = signed / "tflite" / "model.tflite"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def change_all(signed, exported, keys):
    """What checksums can't show: the card and its sum, both rewritten."""
    (signed / "MODEL_CARD.md").write_text("Made by somebody else.\n")
    write_sums(signed)


def another_bundle(signed, exported, keys):
    """All of another bundle that holds, under the signature of the first."""
    signature = (signed / "model.sig").read_bytes()
    shutil.rmtree(signed)
    shutil.copytree(exported / "two" / "bundle", signed)
    (signed / "model.sig").write_bytes(signature)


def swap(signed, exported, keys):
    """The signature that the same key made for another bundle."""
    other = shutil.copytree(exported / "two" / "bundle", signed.parent / "other")
    shutil.copy(sign_bundle(other, keys / "ours.pem"), signed / "model.sig")


def another_key(signed, exported, keys):
    sign_bundle(signed, keys / "other.pem")


def another_key_with_our_name(signed, exported, keys):
    """The signature of another key, which says that it is of ours."""
    ours = json.loads((signed / "model.sig").read_text())
    sign_bundle(signed, keys / "other.pem")
    forged = json.loads((signed / "model.sig").read_text())
    forged["verificationMaterial"] = ours["verificationMaterial"]
    (signed / "model.sig").write_text(json.dumps(forged))


def remove(signed, exported, keys):
    (signed / "model.sig").unlink()


def garbage(signed, exported, keys):
    (signed / "model.sig").write_bytes(b"\xff no signature")


def empty(signed, exported, keys):
    (signed / "model.sig").write_text("{}")


def no_signatures(signed, exported, keys):
    values = json.loads((signed / "model.sig").read_text())
    values["dsseEnvelope"]["signatures"] = []
    (signed / "model.sig").write_text(json.dumps(values))


def strange(signed, exported, keys):
    (signed / ".gitignore").write_text("*")  # which git's own tools would leave out


@pytest.mark.parametrize(
    "fault, message",
    [
        (change, r"does not fit: Signature mismatch: .*Hash mismatch for \W*tflite/model\.tflite"),
        (change_all, r"does not fit: Signature mismatch: .*Hash mismatch for \W*MODEL_CARD\.md"),
        (another_bundle, r"does not fit: Signature mismatch: .*Hash mismatch for \W*SHA256SUMS"),
        (swap, r"does not fit: Signature mismatch: .*Hash mismatch for \W*SHA256SUMS"),
        (another_key, "does not fit: Key mismatch"),
        (another_key_with_our_name, "whose model.sig that key did not make"),
        (remove, "which has no model.sig. `mmzoo sign` writes one"),
        (garbage, "does not fit: 'utf-8' codec"),
        (empty, "does not fit: 'verificationMaterial'"),
        (no_signatures, "does not fit: .*Trust none of its files"),
        (strange, "does not fit: Signature mismatch: .*Extra files found .*gitignore"),
    ],
)
def test_what_was_not_signed_is_refused(signed, exported, keys, fault, message, monkeypatch):
    fault(signed, exported, keys)
    monkeypatch.setattr("mmzoo.export.certify.verification.certify", None)  # no file may be run
    with pytest.raises(SignatureError, match=f"(?s)signed with the private half of .*{message}"):
        verify_bundle(signed, keys / "ours.pub")


def fifo(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def linked(path):
    path.symlink_to(path.parent / "MODEL_CARD.md")


def sparse(path):
    with path.open("wb") as file:
        file.truncate(2**34)


def folder(path):
    path.mkdir()


def deep(path):
    path.write_text("[" * 200_000)


def listening(path):
    with contextlib.chdir(path.parent):  # the path of a socket is short
        socket.socket(socket.AF_UNIX).bind(path.name)


READERS = {
    "verify with a key": lambda b, key: verify_bundle(b, key),
    "verify": lambda b, key: verify_bundle(b),
    "load": lambda b, key: load_bundle(b),
    "sign": lambda b, key: sign_bundle(b, key.with_suffix(".pem")),
    "predict": lambda b, key: predict_sample(b, "tflite", {}),
    "embed": lambda b, key: embed_corpus(b, b / "none", b.parent / "out"),
    "demo": lambda b, key: read_demo(b),
    "bench": lambda b, key: bench_bundle(b),
}


@pytest.mark.parametrize("fault", [fifo, endless, linked, sparse, folder, deep, listening])
@pytest.mark.parametrize(
    "name", ["manifest.json", "certificate.json", "SHA256SUMS", "model.sig", "reference.npz"]
)
def test_no_reader_waits_for_a_strange_file(signed, keys, name, fault):
    (signed / name).unlink()
    fault(signed / name)
    for reader, read in READERS.items():
        unread = fault is deep and not (name.endswith(".json") or reader == "verify with a key")
        if unread or (fault is folder and name != "manifest.json"):
            continue  # it has no more to say than any file that is not there
        with pytest.raises(
            ValueError, match="regular files|can't be read|does not fit|no model.sig"
        ):
            read(signed, keys / "ours.pub")


@pytest.mark.parametrize("name", ["tflite/model.tflite", "tflite"])
def test_a_link_in_a_bundle_is_refused_wherever_it_is(signed, tmp_path, name):
    (signed / name).rename(tmp_path / "moved")
    (signed / name).symlink_to(tmp_path / "moved")
    with pytest.raises(ValueError, match="regular files.*tflite is a link"):
        load_bundle(signed)


def test_a_link_in_the_place_of_a_servers_version_is_refused(signed):
    (signed / "saved_model").mkdir()
    (signed / "saved_model" / "3").symlink_to("/tmp")
    with pytest.raises(ValueError, match="regular files.*saved_model/3 is a link"):
        load_bundle(signed)


def test_an_older_bundle_of_the_same_key_is_told_apart(signed, keys, monkeypatch):
    key = keys / "ours.pub"
    held = verify_bundle(signed, key, expect_version="1", expect_name="signing")
    assert held.manifest["version"] == "1"
    monkeypatch.setattr("mmzoo.export.certify.verification.certify", None)  # no file may be run
    with pytest.raises(ValueError, match="of the version '2'.*of the version '1'"):
        verify_bundle(signed, key, expect_version="2")
    with pytest.raises(ValueError, match="of the name 'other'.*of the name 'signing'"):
        verify_bundle(signed, key, expect_name="other")


@pytest.mark.parametrize("name", ["predict", "embed", "demo", "bench"])
def test_every_command_takes_a_key(signed, keys, name, monkeypatch):
    (signed / "MODEL_CARD.md").write_text("Made by somebody else.\n")
    key, out = keys / "ours.pub", signed.parent / "out"
    with pytest.raises(SignatureError, match="MODEL_CARD.md"):
        {
            "predict": lambda: predict_sample(signed, "tflite", {}, public_key=key),
            "embed": lambda: embed_corpus(signed, signed, out, public_key=key),
            "demo": lambda: serve_demo(signed, public_key=key),
            "bench": lambda: bench_bundle(signed, public_key=key),
        }[name]()
    assert not out.exists()


@pytest.mark.parametrize("version", ["", " ", "1 2", "a/b", "-1", "1\n", 2, None, "1" * 65])
def test_versions_that_could_not_be_asked_for(version, tmp_path):
    with pytest.raises(ValueError, match="`version` must be letters"):
        export_bundle("none.keras", tmp_path / "bundle", version=version)


@pytest.mark.parametrize("name", ["a\nb", "a\n", "\r", "a\u2028b", "a\x85b", "a\0", "", " ", 3])
def test_class_names_are_one_line_each(name, tmp_path):
    with pytest.raises(ValueError, match="class 1"):
        export_bundle("none.keras", tmp_path / "bundle", classes=["fine", name])
    assert not (tmp_path / "bundle").exists()


def test_checksums_alone_do_not_find_another_bundle(signed, exported, keys):
    another_bundle(signed, exported, keys)
    assert verify_bundle(signed).certificate["holds"]  # why there are signatures


@pytest.mark.parametrize("name", ["other.sig", "onnx/model.sig", "model.sig/x"])
def test_any_other_strange_file_stays_a_breach(exported, tmp_path, name):
    copy = shutil.copytree(exported / "one" / "bundle", tmp_path / "bundle")
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("x")
    assert any(f"{name}: not in SHA256SUMS" in breach for breach in changed_sums(copy))


def test_a_signed_bundle_may_be_replaced(signed):
    check_bundle_place(signed)
    assert exporter.export_bundle is export_bundle


@pytest.mark.parametrize(
    "name, reason",
    [
        ("no", "No such file"),
        ("rsa", "no attribute 'curve'"),
        ("curve", "Unsupported key for curve 'secp256k1'"),
        ("locked", "Password was not given"),
        ("garbage", "PEM"),
    ],
)
def test_keys_that_can_not_be_used(signed, keys, name, reason):
    (keys / "garbage.pem").write_text("no key")
    (keys / "garbage.pub").write_text("no key")
    message = rf"Expected a private elliptic key .*{name}.pem: .*{reason}.*`openssl ecparam"
    with pytest.raises(ValueError, match=f"(?s){message}"):
        sign_bundle(signed, keys / f"{name}.pem")
    if name == "locked":
        return  # its public half is as good as any
    message = rf"Expected a public elliptic key .*{name}.pub: .*{reason}.*`openssl ec -in"
    with pytest.raises(ValueError, match=f"(?s){message}"):
        verify_bundle(signed, keys / f"{name}.pub")


def test_a_bundle_that_does_not_hold_is_not_signed(exported, keys, tmp_path):
    copy = shutil.copytree(exported / "one" / "bundle", tmp_path / "bundle")
    certificate = json.loads((copy / "certificate.json").read_text())
    for values, reason in [
        ({"holds": False}, "its certificate does not hold"),
        ({"manifest_sha256": "0"}, "manifest.json is not the one"),
        ({}, "MODEL_CARD.md: not as SHA256SUMS says"),
    ]:
        (copy / "certificate.json").write_text(json.dumps(certificate | values))
        write_sums(copy)
        if not values:
            (copy / "MODEL_CARD.md").write_text("?")
        with pytest.raises(ValueError, match=f"as it was certified, to sign.*{reason}"):
            sign_bundle(copy, keys / "ours.pem")
    assert not (copy / "model.sig").exists()


def test_without_the_package_its_pip_line_is_named(signed, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for act in (
        lambda: sign_bundle(signed, keys / "ours.pem"),
        lambda: verify_bundle(signed, keys / "ours.pub"),
    ):
        with pytest.raises(ImportError, match=r"model-signing.*`pip install -e .\.\[signing\]"):
            act()


def test_the_commands(exported, keys, tmp_path):
    def mmzoo(*arguments):
        command = [sys.executable, "-m", "mmzoo", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    copy = shutil.copytree(exported / "one" / "bundle", tmp_path / "bundle")
    assert "model.sig" not in mmzoo("verify", copy).stdout
    done = mmzoo("verify", copy, "--public-key", keys / "ours.pub")
    assert done.returncode == 1 and "which has no model.sig" in done.stderr
    done = mmzoo("sign", copy, "--key", keys / "ours.pem")
    assert done.returncode == 0 and done.stdout.startswith("Signed: "), done.stderr
    done = mmzoo("verify", copy, "--public-key", keys / "ours.pub")
    assert done.returncode == 0 and "Signed with the key of" in done.stdout, done.stderr
    done = mmzoo("verify", copy)
    assert done.returncode == 0
    assert "model.sig is there, but was not checked: pass --public-key" in done.stdout
    done = mmzoo("verify", copy, "--public-key", keys / "other.pub")
    assert done.returncode == 1 and "Key mismatch" in done.stderr
