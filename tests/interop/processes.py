"""The real binary as processes: an emulator, a called function, and programs that run to their end."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

SOURCES = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ["INTEROP_BINARIES"])
COUNTERSIGN = BINARIES / "countersign"
PYTHON = sys.executable
CLIENTS = SOURCES / "tests" / "interop" / "clients"
EXAMPLES = SOURCES / "examples" / "clients"

# Long enough for anything that should happen at all.
DEADLINE_SECONDS = 60

AUDIENCE = "https://called.interop.example"

# Neither proxies nor redirects, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def bare_environment(home):
    """Nothing of the user's own that could lead a client to real credentials."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLOUDSDK_CONFIG": str(home / "gcloud"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Process:
    """A countersign that runs until it is told to end; its output is read line by line."""

    def __init__(self, arguments, environment):
        self._lines = []
        self._child = subprocess.Popen(
            [COUNTERSIGN, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # What hangs ends here, and the reader sees the end of the output.
        self._deadline = threading.Timer(DEADLINE_SECONDS * 10, self._child.kill)
        self._deadline.daemon = True
        self._deadline.start()

    def line_with(self, pattern):
        """Reads up to the first line that matches, and gives the match."""
        for line in self._child.stdout:
            self._lines.append(line)
            if match := re.search(pattern, line):
                # Somebody has to go on reading, or the child blocks once the pipe is full.
                threading.Thread(target=self._read_on, daemon=True).start()
                return match
        raise AssertionError(f"it ended before a line with {pattern!r}:\n{''.join(self._lines)}")

    def _read_on(self):
        for line in self._child.stdout:
            self._lines.append(line)

    def output(self):
        return "".join(self._lines)

    def stop(self):
        self._deadline.cancel()
        self._child.terminate()
        try:
            self._child.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            raise


class Emulator(Process):
    """`countersign emulator` on a free port."""

    def __init__(self, home):
        super().__init__(["emulator", "--port", "0"], bare_environment(home))
        # What it says about itself ends with things to try.
        self.line_with(r"^# Try:")
        guide = self.output()
        self.url = re.search(r"endpoints on (http://127\.0\.0\.1:\d+)", guide).group(1)
        exports = [shlex.split(line)[1] for line in guide.splitlines() if line.startswith("export ")]
        self._exports = dict(export.split("=", 1) for export in exports)
        state = self.admin("state")
        self.default_account = state["default_account"]
        self.project_number = state["project"]["number"]

    def host(self):
        return self.url.removeprefix("http://")

    def environment(self, home):
        """For a program that is pointed at this emulator."""
        return {**bare_environment(home), **self._exports}

    def admin(self, path, document=None):
        """Asks the admin API; a document is posted."""
        body = None if document is None else json.dumps(document).encode()
        status, _, text = http(f"{self.url}/admin/{path}", body)
        assert status == 200, f"/admin/{path}: {status} {text}"
        return json.loads(text)

    def token(self, audience=AUDIENCE, **spec):
        """A token by the admin API: `bad="expired"`, `account="…"`."""
        return self.admin("tokens", {"audience": audience, **spec})["token"]


class Called(Process):
    """`countersign called` that takes tokens of this emulator for these principals."""

    def __init__(self, environment, principals, audience=AUDIENCE):
        settings = {"AUDIENCE": audience, "ALLOWED_PRINCIPALS": ",".join(principals), "PORT": "0"}
        super().__init__(["called"], {**environment, **settings})
        self.url = "http://" + self.line_with(r"listening address=(127\.0\.0\.1:\d+)").group(1)

    def create(self, token):
        """The status for a new entity, with this token in both headers, and the answer."""
        headers = {"Authorization": f"Bearer {token}", "X-Serverless-Authorization": f"Bearer {token}"}
        status, _, text = http(self.url, b'{"bar": "interop"}', headers)
        return status, json.loads(text)

    def whoami(self, token):
        """Whom it takes the holder of this token for."""
        status, _, text = http(f"{self.url}/whoami", None, {"Authorization": f"Bearer {token}"})
        assert status == 200, f"{status} {text}"
        return json.loads(text)


def http(url, body=None, headers=None):
    """Status, headers and text of an exchange, whatever the status."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with _OPENER.open(request, timeout=DEADLINE_SECONDS) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers, answer.read().decode()


def run(command, environment, stdin=""):
    """Runs a program to its end: its exit code, output and errors."""
    return subprocess.run(
        [str(part) for part in command],
        env=environment, input=stdin, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
    )


def printed(command, environment, stdin=""):
    """What a program prints that has to succeed."""
    done = run(command, environment, stdin)
    shown = shlex.join(str(part) for part in command)
    assert done.returncode == 0, f"{shown}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


class Stage:
    """An emulator, a called function for its default account, and a home directory that is empty."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="countersign-interop-")
        self.home = pathlib.Path(self._directory.name)
        self.emulator = Emulator(self.home)
        self.account = self.emulator.default_account
        self.environment = self.emulator.environment(self.home)
        self.called = Called(self.environment, [f"serviceAccount:{self.account}"])

    def close(self):
        self.called.stop()
        self.emulator.stop()
        self._directory.cleanup()
