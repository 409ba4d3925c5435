"""Clients of the page's server that are slow, many, or ask for more than they may."""

import hashlib
import socket
import threading
import time

import pytest

from mmzoo.export.demo import connection, server


@pytest.fixture
def files(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"model" * 100)
    return tmp_path


@pytest.fixture
def served(files, monkeypatch):
    monkeypatch.setattr(connection, "SECONDS", 0.6)
    monkeypatch.setattr(connection, "IDLE", 0.6)
    monkeypatch.setattr(server, "CLIENTS", 4)
    with server.make_server({}, files / "model.onnx", {}, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running.server_address[1]
        running.shutdown()
        thread.join()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_all(client):
    parts = []
    try:
        while part := client.recv(1 << 16):
            parts.append(part)
    except ConnectionError:  # it was cut off with bytes of ours unread
        pass
    return b"".join(parts)


def ask(port, *lines, body=b""):
    with connect(port) as client:
        head = [*lines, f"Host: 127.0.0.1:{port}", "Connection: close"]
        client.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return read_all(client)


def test_a_client_that_sends_byte_by_byte_is_cut_off(served):
    with connect(served) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        begin = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - begin < 15:
                client.sendall(b"a")
                time.sleep(0.1)
    assert ask(served, "GET /model.onnx HTTP/1.1").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("said", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_client_that_says_no_more_is_cut_off(served, said):
    with connect(served) as client:
        client.sendall(said)
        assert read_all(client) == b""  # it would hang


def test_a_client_that_takes_nothing_is_cut_off(files, monkeypatch):
    (files / "model.onnx").write_bytes(bytes(64 << 20))
    monkeypatch.setattr(connection, "SECONDS", 0.6)
    with server.make_server({}, files / "model.onnx", {}, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        port = running.server_address[1]
        before = threading.active_count()
        with connect(port) as client:
            client.sendall(f"GET /model.onnx HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            end = time.monotonic() + 15
            while threading.active_count() <= before and time.monotonic() < end:
                time.sleep(0.01)
            while threading.active_count() > before and time.monotonic() < end:
                time.sleep(0.05)
            assert threading.active_count() <= before
        running.shutdown()
        thread.join()


def test_one_client_too_many_is_told_so_and_the_rest_are_served_again(served):
    waiting = [connect(served) for _ in range(4)]
    time.sleep(0.2)
    with connect(served) as client:
        assert read_all(client).startswith(b"HTTP/1.1 503")
    for each in waiting:
        each.close()
    end = time.monotonic() + 15
    while not ask(served, "GET / HTTP/1.1").startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["GET / HTTP/1.1", "Content-Length: 99"], b"GET /model.onnx HTTP/1.1\r\n\r\n"),
        (["GET / HTTP/1.1", "Content-Length: 999999999999"], b"x" * 100_000),
        (["GET / HTTP/1.1", "Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
def test_a_body_is_refused_and_not_read_as_a_request(served, lines, body):
    answer = ask(served, *lines, body=body)
    assert answer.count(b"HTTP/1.1 ") <= 1 and b"model" not in answer
    assert not answer or answer.startswith(b"HTTP/1.1 413")


def test_other_methods_and_second_hosts_get_nothing(served):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE"):
        assert b" 501 " in ask(served, f"{method} / HTTP/1.1")
    assert b" 403 " in ask(served, "GET / HTTP/1.1", "Host: evil.example")
    assert b" 404 " in ask(served, "GET http://evil.example/model.onnx HTTP/1.1")


def test_a_head_without_end_is_cut_off(served):
    with connect(served) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            for k in range(100_000):
                client.sendall(b"X%d: %b\r\n" % (k, b"a" * 1000))
    assert b" 200 " in ask(served, "GET / HTTP/1.1")


def test_the_model_is_read_once(served, files):
    (files / "model.onnx").write_bytes(b"another")
    assert ask(served, "GET /model.onnx HTTP/1.1").endswith(b"model" * 100)


def test_a_model_that_changed_since_its_check_is_refused(files):
    model = {"sha256": hashlib.sha256(b"as it was").hexdigest()}
    with pytest.raises(ValueError, match="model.onnx. Received: .* changed since it was checked"):
        server.make_server(model, files / "model.onnx", {}, 0)
