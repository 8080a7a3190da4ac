"""A headless Chromium for tests of pages, driven by its DevTools protocol over a pipe; tests skip where there is none.

It is on the PATH, or comes from Debian without being installed (``scripts/get_debian.py``). The browser has no WebGL,
and no host name resolves, so that a page which needs either shows it.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.debian import with_libraries

RESTS = """new Promise(done => {
  let at = scrollY, since = performance.now()
  const look = () => {
    if (scrollY !== at) [at, since] = [scrollY, performance.now()]
    if (performance.now() - since > 300) done(1)
    else requestAnimationFrame(look)
  }
  look()
})"""
"""Promise that is kept when the page has not scrolled for 300 ms."""
TIMEOUT_S = 60.0
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-3d-apis --disable-dev-shm-usage --disable-extensions "
    "--disable-background-networking --disable-component-update --no-first-run --hide-scrollbars "
    "--force-color-profile=srgb --remote-debugging-pipe"
).split()


class Tab:
    """One page of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.problems: list[str] = []
        """Exceptions, messages of warning or error on the console, and refusals of the security policy."""
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, page: Path, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Load a file at this size and wait until its viewer, where it has one, shows or says that it cannot."""
        self.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.until(
            "document.readyState === 'complete' && (!document.getElementById('viewer') || "
            "!document.getElementById('viewer').hidden || !document.getElementById('viewer-problem').hidden)"
        )
        self.settle()

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def until(self, condition: str) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not self.run(condition):
            assert time.monotonic() < end, f"never: {condition}; {self.problems}"
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait for the frame after the next, when what was asked for is drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def key(self, key: str) -> None:
        """Press one key where the focus is."""
        codes = {"PageUp": 33, "PageDown": 34, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, " ": 32}
        text = {"text": key} if len(key) == 1 else {}
        code = codes.get(key) or ord(key.upper())
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra)
        self.settle()

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window, in CSS pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", buttons=1 if kind == "mousePressed" else 0, clickCount=1)
        self.settle()

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Press a button at one place, move, and let it go at the other."""
        held = {"left": 1, "right": 2}[button]
        self.mouse("mousePressed", *start, button=button, buttons=held, clickCount=1)
        self.mouse("mouseMoved", *end, button=button, buttons=held)
        self.mouse("mouseReleased", *end, button=button, buttons=0)
        self.settle()

    def swipe(self, x: float, y: float, up_px: int = 0) -> None:
        """Put a finger on the screen, move it up, hold it still and let go; without a way up it is a tap.

        The page must have been opened as one that is touched. It is at rest at the end: while a page runs on, a tap
        only stops it.
        """
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for moved in range(20, up_px + 1, 20):
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x, "y": y - moved}])
            self.settle()
        if up_px:
            time.sleep(0.3)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.run(RESTS)
        self.settle()

    def wheel(self, x: float, y: float, down_px: float) -> None:
        self.mouse("mouseWheel", x, y, deltaX=0, deltaY=down_px)
        self.settle()

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """The page as it prints on A4."""
        printed = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        return base64.b64decode(printed["data"])


class Browser:
    """The process, and its messages: JSON with a zero byte behind each."""

    def __init__(self, program: Path, environment: dict[str, str], folder: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [
            str(program),
            *FLAGS,
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        # The protocol's pipes are the descriptors 3 and 4.
        shell = ["bash", "-c", f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"', "chromium", *command]
        self._log = (folder / "chromium.log").open("wb")
        self.process = subprocess.Popen(
            shell,
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._numbers = itertools.count(1)
        self._rest = b""
        self._tabs: dict[str, Tab] = {}

    def close(self) -> None:
        os.close(self._out)
        try:
            self.process.wait(10)  # it ends when its pipe does
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        os.close(self._in)
        self._log.close()

    def tab(self) -> Tab:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._tabs[session] = Tab(self, session)
        return self._tabs[session]

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            if (tab := self._tabs.get(answer.get("sessionId", ""))) is not None:
                _note(tab, answer["method"], answer["params"])

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, (
                f"Chromium does not answer; it said {Path(self._log.name).read_text(errors='replace')[-2000:]}"
            )
            more = os.read(self._in, 1 << 20)
            assert more, f"Chromium has ended; it said {Path(self._log.name).read_text(errors='replace')[-2000:]}"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _said(self) -> str:
        return Path(self._log.name).read_text(errors="replace")[-2000:]


def _note(tab: Tab, event: str, what: dict[str, Any]) -> None:
    if event == "Runtime.exceptionThrown":
        tab.problems.append(str(what["exceptionDetails"].get("exception", {}).get("description", what)))
    elif event == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
        tab.problems.append(str([argument.get("value") for argument in what["args"]]))
    elif event == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
        if "willReadFrequently" not in what["entry"]["text"]:  # advice to the test, which reads a canvas back
            tab.problems.append(what["entry"]["text"])
    elif event == "Network.requestWillBeSent":
        tab.requests.append(what["request"]["url"])


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A running browser with its profile in ``folder``."""
    browser = Browser(*with_libraries("get_chromium"), folder)
    try:
        yield browser
    finally:
        browser.close()
