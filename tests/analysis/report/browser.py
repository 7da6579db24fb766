"""A headless Chromium, driven through its DevTools protocol: what a reader sees, and what goes wrong."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WAIT_SECONDS = 60.0
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """The browser's program, if this machine has one."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """One page. `complaints` are errors and warnings of its console, `requests` the addresses that it asked for."""

    def __init__(self, address: str) -> None:
        # without an origin: the browser refuses those that it was not started with
        self.socket = websocket.create_connection(address, timeout=WAIT_SECONDS, suppress_origin=True)
        self.number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a DevTools method; events on the way are noted."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        values = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(values["exceptionDetails"]))
        elif message["method"] == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(values["args"]))
        elif message["method"] == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.complaints.append(values["entry"]["text"])
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])

    def open(self, address: str) -> None:
        """Load a page, or go to another part of it, and wait until it is drawn."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && document.querySelector('h1') !== null")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not self.ask(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def texts(self, selector: str) -> list[str]:
        """The visible text of all elements."""
        found: list[str] = self.ask(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.innerText)")
        return found

    def click(self, selector: str) -> None:
        self.ask(f"document.querySelector({json.dumps(selector)}).click()")

    def choose(self, name: str, value: str) -> None:
        """Set the control of that name as a reader does."""
        events = "box.dispatchEvent(new Event('input')); box.dispatchEvent(new Event('change'))"
        find = f"const box = document.querySelector('[name={json.dumps(name)}]')"
        self.ask(f"(() => {{ {find}; box.value = {json.dumps(value)}; {events}; }})()")

    def press(self, key: str) -> None:
        """A key on what has the focus."""
        code = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def emulate(self, media: str = "", **features: str) -> None:
        """Print, or features such as prefers-color-scheme (with "_" for "-")."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=media, features=named)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def running_browser(program: str, folder: Path) -> Iterator[Browser]:
    """A browser with its profile in `folder`; it ends with the block."""
    profile = folder / "profile"
    with (folder / "browser.log").open("wb") as log:
        command = [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            browser = Browser(_address(process, profile / "DevToolsActivePort"))
            yield browser
            browser.socket.close()
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[bytes], file: Path) -> str:
    """The DevTools address of the browser's first page."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if file.exists() and "\n" in file.read_text():
            port = file.read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=WAIT_SECONDS) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError(f"the browser did not start (exit code {process.poll()})")
