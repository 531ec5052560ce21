"""A real browser, driven over WebDriver with what Python has on board."""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import time

TAB, ENTER, SPACE, SHIFT, CONTROL = "\ue004", "\ue007", " ", "\ue008", "\ue009"
LEFT, RIGHT, DOWN = "\ue012", "\ue014", "\ue015"
PATIENCE = 20


class Browser:
    """Headless Chromium behind its driver, with a profile of its own that goes with it."""

    def __init__(self, driver, chromium):
        self.profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [driver, "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.port, self.session = None, ""
        try:
            self.start(chromium)
        except BaseException:
            self.close()
            raise

    def start(self, chromium):
        for line in self.process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self.port = int(found[1])
                break
        arguments = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--no-proxy-server", "--disable-dev-shm-usage", "--window-size=1280,900",
            f"--user-data-dir={self.profile.name}",
        ]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        capabilities = {"capabilities": {"alwaysMatch": wanted}}
        self.session = "/session/" + self.ask("POST", "/session", capabilities)["sessionId"]

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, self.session + path, None if body is None else json.dumps(body))
        answer = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{path}: {answer['error']}: {answer['message'].splitlines()[0]}")
        return answer

    def close(self):
        try:
            if self.session:
                self.ask("DELETE", "")
        except (OSError, RuntimeError, http.client.HTTPException):
            pass
        finally:
            # its own group: the driver, and a browser that did not end with the session
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.profile.cleanup()

    def open(self, url):
        self.ask("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """The value of a piece of JavaScript, which `return`s it."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script, *arguments):
        """Waits until a script is true; `False` if it never is."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.run(script, *arguments):
                return True
            time.sleep(0.05)
        return False

    def devtools(self, command, **parameters):
        body = {"cmd": command, "params": parameters}
        return self.ask("POST", "/goog/cdp/execute", body)

    def press(self, *strokes):
        """Presses keys one after the other; a tuple of them at once."""
        actions = []
        for stroke in strokes:
            held = stroke if isinstance(stroke, tuple) else (stroke,)
            actions += [{"type": "keyDown", "value": key} for key in held]
            actions += [{"type": "keyUp", "value": key} for key in reversed(held)]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self.ask("POST", "/actions", {"actions": [keyboard]})

    def insert(self, text):
        """Puts a text where the focus is, as a paste does."""
        self.devtools("Input.insertText", text=text)

    def show_as(self, scheme="light", motion="no-preference", width=1280, height=900):
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.devtools("Emulation.setEmulatedMedia", features=features)
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1.5, mobile=width < 600,
        )

    def texts(self):
        """What is read out of the page, without running a script in it."""
        nodes = self.devtools("Accessibility.getFullAXTree")["nodes"]
        return [node["name"].get("value", "") for node in nodes if not node["ignored"] and "name" in node]

    def screenshot(self, path):
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def complaints(self):
        """What the browser's console has said since it was asked for the last time."""
        return [entry["message"] for entry in self.ask("POST", "/se/log", {"type": "browser"})]
