"""What the page is told of a bundle, and its server."""

import http.client
import json
import re
import socket
import threading
from pathlib import Path

import pytest
from manifests import declared

from mmzoo.export.demo import command, server, vendor
from mmzoo.export.demo.plan import TOKENS, plan, read_demo

IMAGE = {"name": "image", "dtype": "uint8", "shape": [None, None, None, 3]}
TEXT = {"name": "text", "dtype": "uint8", "shape": [None, None]}
IDS = {"name": "ids", "dtype": "int32", "shape": [None, 8], "tokens_of": "text"}
AUDIO = {"name": "audio", "dtype": "float32", "shape": [None, None]}
NUMBERS = {"name": "numbers", "dtype": "float32", "shape": [None, None]}
OUTSIDE = re.compile(r"(?:https?:)?//(?!127\.0\.0\.1)[a-z0-9-]+\.", re.IGNORECASE)


def present(of):
    return {"name": f"{of}_present", "dtype": "bool", "shape": [None], "presence_of": of}


def manifest_of(*inputs, **changes):
    manifest = {
        "model": "small", "inputs": list(inputs),
        "outputs": [{"name": "probability", "dtype": "float32", "shape": [None, 2]}],
        "samples": {"shapes": {t["name"]: [5] * (len(t["shape"]) - 1) for t in inputs}},
    } | changes  # fmt: skip
    return declared(manifest, ["a", "b"], "pad", (5, 5))


# What the page is told


def test_the_page_is_told_each_modality_by_name():
    told = plan(manifest_of(IMAGE, TEXT, AUDIO, present("text"), present("audio")))
    assert [(m["name"], m["kind"], m["optional"]) for m in told["modalities"]] == [
        ("image", "picture", False), ("text", "text", True), ("audio", "sound", True),
    ]  # fmt: skip
    assert told["modalities"][0]["shape"] == [None, None, 3]
    assert [(t["name"], t["source"], t["presence_of"]) for t in told["tensors"][2:4]] == [
        ("audio", "audio", ""), ("text_present", "text", "text"),
    ]  # fmt: skip
    assert told["output"] == "probability" and told["modalities"][2]["sample_rate"] == 16_000


def test_token_ids_close_the_text_and_numbers_are_left_out_where_the_model_can_do_without():
    told = plan(manifest_of(IMAGE, IDS, NUMBERS, present("text"), present("numbers")))
    assert [(m["name"], m["closed"]) for m in told["modalities"]] == [
        ("image", ""), ("text", TOKENS),
    ]  # fmt: skip
    assert [t["source"] for t in told["tensors"]] == ["image", "text", "numbers", "text", "numbers"]


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        ([IMAGE, NUMBERS], "Received, besides: numbers. A model with presence inputs"),
        ([IMAGE, IDS], "Received, besides: text. .*`mmzoo predict` takes token ids"),
        ([IDS, present("text")], "Received, besides: text"),
        ([NUMBERS, present("numbers")], "Received, besides: numbers"),
        ([IMAGE | {"dtype": "float32"}], "Received, besides: image"),
        ([IMAGE | {"shape": [None, 8, 8, 1]}], "Received, besides: image"),
        ([AUDIO | {"dtype": "float16"}], "and float32 scores.* Received: audio: float16"),
    ],
)
def test_a_model_that_a_page_cannot_feed_is_refused(inputs, match):
    with pytest.raises(ValueError, match=match):
        plan(manifest_of(*inputs))


def test_scores_that_are_not_clear_are_refused():
    outputs = [{"name": n, "dtype": "float32", "shape": [None, 2]} for n in ("x", "y")]
    with pytest.raises(ValueError, match="one output with a score a class"):
        plan(manifest_of(TEXT, outputs=outputs))
    half = [{"name": "probability", "dtype": "float16", "shape": [None, 2]}]
    with pytest.raises(ValueError, match="float32 scores.* Received: probability: float16"):
        plan(manifest_of(TEXT, outputs=half))


def test_only_a_proven_bundle_is_shown(exported, copy, tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a bundle: a folder with manifest.json"):
        read_demo(tmp_path / "nothing")
    with pytest.raises(ValueError, match="Received, besides: numbers"):
        read_demo(exported.path)
    model = copy / "onnx" / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="the files that were verified. Changed: onnx/model.onnx"):
        read_demo(copy)
    model.write_bytes(whole)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"model": "another"}))
    with pytest.raises(ValueError, match="a bundle whose certificate holds for its manifest"):
        read_demo(copy)
    del manifest["formats"]["onnx"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="Export the model with --formats onnx"):
        read_demo(copy)


# The server


@pytest.fixture
def served(tmp_path):
    """A server of the page, whose model and runtime are a few bytes."""
    files = {name: tmp_path / name for name in ("model.onnx", *vendor.FILES)}
    for name, path in files.items():
        path.write_bytes(name.encode())
    (tmp_path / "secret.json").write_text("{}")
    model = plan(manifest_of(TEXT))
    runtime = {name: files[name] for name in vendor.FILES}
    with server.make_server(model, files["model.onnx"], runtime, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


def ask(port, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_every_file_of_the_page_comes_with_its_type(served):
    kinds = {
        "/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css",
        "/icon.svg": "image/svg+xml", "/model.json": "application/json",
        "/model.onnx": "application/octet-stream",
        "/runtime/ort.wasm.bundle.min.mjs": "text/javascript",
        "/runtime/ort-wasm-simd-threaded.wasm": "application/wasm",
    }  # fmt: skip
    for path, kind in kinds.items():
        answer, body = ask(served, path)
        assert answer.status == 200 and body, path
        assert answer.headers["Content-Type"].partition(";")[0] == kind
    files = sorted(server.PAGE.iterdir())
    assert len(files) >= 8
    for file in files:
        answer, body = ask(served, f"/{file.name}")
        assert (answer.status, body) == (200, file.read_bytes()), file
    answer, body = ask(served, "/model.onnx", method="HEAD")
    assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", "10")
    assert ask(served, "/model.onnx")[1] == b"model.onnx"
    assert json.loads(ask(served, "/model.json")[1])["name"] == "small"
    assert ask(served, "/?a=b", host=f"localhost:{served}")[0].status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/page/../../server.py",
        "/runtime/../secret.json", "/secret.json", "/manifest.json", "/page/index.html",
        "/runtime/", "/runtime", "//etc/passwd", "/etc/passwd", "/....//server.py", "/.",
        "/runtime/..\\secret.json", "/index.html/", "/index.html%00", "server.py",
    ],
)  # fmt: skip
def test_no_other_path_leads_to_a_file(served, path):
    answer, body = ask(served, path)
    assert (answer.status, body) == (404, b"No such page.\n")


def test_a_page_of_another_name_gets_nothing(served):
    for host in ("example.com", f"example.com:{served}", "127.0.0.1", "localhost:1"):
        answer, body = ask(served, "/model.json", host=host)
        assert (answer.status, b"small" in body) == (403, False), host


def test_it_listens_on_this_computer_alone(served):
    assert server.HOST == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", served), timeout=20).close()


def test_a_taken_port_is_told(served):
    with pytest.raises(server.PortTaken, match=f"Received: {served} .* Name another with --port"):
        server.make_server({}, Path("x"), {}, served)


def test_the_page_may_ask_nobody_else(served):
    for path in ("/", "/worker.js", "/nothing"):
        policy = ask(served, path)[0].headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';")
        assert not re.search(r"http|\*|'unsafe-|data:", policy)
    for file in server.PAGE.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not OUTSIDE.search(text), file
    html = (server.PAGE / "index.html").read_text()
    assert not re.search(r"<script(?! type=\"module\" src=)|<style|\sstyle=|\son\w+=", html)


def test_the_command_serves_until_it_is_interrupted(monkeypatch, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    told, opened = [], []

    def interrupted(running):
        raise KeyboardInterrupt

    model = plan(manifest_of(TEXT))
    monkeypatch.setattr(command, "read_demo", lambda path, key: (model, tmp_path / "model.onnx"))
    monkeypatch.setattr(command, "fetch_runtime", dict)
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    monkeypatch.setattr(server._Server, "serve_forever", interrupted)
    command.serve_demo("a bundle", port=0, tell=told.append)
    assert re.match(r"small: http://127\.0\.0\.1:\d+/  \(Ctrl-C", told[0])
    assert told[1] == "Stopped." and opened[0] in told[0]
    command.serve_demo("a bundle", port=0, open_page=False, tell=told.append)
    assert len(opened) == 1
