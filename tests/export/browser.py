"""Headless Chromium over its pipe, with what Python brings: no driver, no package."""

import base64
import contextlib
import json
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmzoo.export.demo import server, vendor

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 120  # that one step may take
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--hide-scrollbars", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--remote-debugging-pipe",
)  # fmt: skip


def find_chromium() -> str | None:
    """The command of a Chromium that is installed: on PATH, or by Playwright."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    places = Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome")
    return next((str(path) for path in sorted(places, reverse=True)), None)


CHROMIUM = find_chromium()
NO_CHROMIUM = "no Chromium on PATH, nor one of Playwright's: apt install chromium"
RUNTIME = vendor.runtime_cache() / f"{vendor.PACKAGE}-{vendor.VERSION}"
NO_RUNTIME = f"neither npm on PATH nor {RUNTIME}"
NEEDED = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
    pytest.mark.skipif(not (shutil.which("npm") or RUNTIME.is_dir()), reason=NO_RUNTIME),
]


def of(name: str, selector: str) -> str:
    """JavaScript: an element in a modality's card."""
    return f"document.querySelector('[data-name={name}] {selector}')"


@contextlib.contextmanager
def open_browser() -> Iterator["Browser"]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(CHROMIUM, Path(folder))
        try:
            browser.look(1280)
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: "Browser", model: dict, artifact: Path) -> Iterator[str]:
    """Opens the page of a model; yields its address."""
    with server.make_server(model, artifact, vendor.fetch_runtime(), 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{running.server_address[1]}/"
            browser.open(address)
            browser.wait("mmzoo.ready || mmzoo.fault")
            yield address
        finally:
            running.shutdown()
            thread.join()


class Browser:
    """One page of a Chromium of its own, by the DevTools protocol.

    Attributes:
        faults: What the page printed as an error, threw or was forbidden.
        asked: Addresses that the page asked for.
    """

    def __init__(self, command: str, folder: Path):
        self.faults: list[str] = []
        self.asked: list[str] = []
        self._number = 0
        self._answers: queue.Queue = queue.Queue()
        # It reads its file 3 and writes its file 4.
        shell = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh"]
        self._log = (folder / "browser.log").open("wb")
        self._process = subprocess.Popen(
            [*shell, command, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        self._session: dict = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def _read(self):
        data = b""
        while block := self._process.stdout.read1(1 << 16):
            *whole, data = (data + block).split(b"\0")
            for message in map(json.loads, whole):
                if "id" in message:
                    self._answers.put(message)
                else:
                    self._note(message["method"], message["params"])

    def _note(self, method, params):
        if method == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(json.dumps(params["entry"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.faults.append(json.dumps(params["args"]))
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def send(self, method: str, **params) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while True:
            answer = self._answers.get(timeout=SECONDS)
            if answer["id"] == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def evaluate(self, code: str):
        """The value of JavaScript, awaited."""
        found = self.send(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, code: str):
        """The value of JavaScript, once it is true."""
        end = time.monotonic() + SECONDS
        while not (value := self.evaluate(code)):
            shown = self.evaluate("document.body?.innerText")
            assert time.monotonic() < end, f"{code} stayed false. {self.faults} {shown}"
            time.sleep(0.05)
        return value

    def open(self, address: str):
        self.send("Page.navigate", url=address)
        self.wait(f"location.href.startsWith({json.dumps(address)}) && window.mmzoo !== undefined")

    def give(self, selector: str, path: Path):
        """Picks a file in an `<input type=file>`."""
        found = self.send("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        self.send(
            "DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"]
        )  # fmt: skip

    def look(self, width: int, height: int = 800, dark: bool = False):
        """Sets the size of the page, in CSS pixels, and its colours."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path):
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self._process.stdin.close()  # it ends when nobody speaks to it
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
