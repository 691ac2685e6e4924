"""The programs in examples/clients do what they say."""

import os
import pathlib
import unittest

from processes import AUDIENCE, BINARIES, EXAMPLES, PYTHON, Stage, printed, run


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = Stage()
        cls.addClassCleanup(cls.stage.close)

    def check(self, program, greeting):
        environment = self.stage.environment
        output = printed([*program, self.stage.called.url, AUDIENCE], environment)
        self.assertIn(f'"bar":"{greeting}"', output)
        for arguments, expected in [
            # By default the audience is the origin, which this service does not take.
            ([self.stage.called.url + "/path?query=1"], "wrong_audience"),
            (["http://called.interop.example/", AUDIENCE], "https"),
        ]:
            done = run([*program, *arguments], environment)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(expected, done.stdout + done.stderr)
            self.assertNotIn("eyJ", done.stdout + done.stderr)

    def test_curl(self):
        environment = self.stage.environment
        environment["PATH"] = f"{BINARIES}{os.pathsep}{environment['PATH']}"
        self.check([EXAMPLES / "curl" / "call.sh"], "hello from curl")

    def test_rust(self):
        self.check([BINARIES / "examples" / "signing_client"], "hello from Rust")

    def test_python(self):
        self.check([PYTHON, EXAMPLES / "python" / "call.py"], "hello from Python")

    @unittest.skipUnless("INTEROP_NODE" in os.environ, "without Node.js")
    def test_node(self):
        program = pathlib.Path(os.environ["INTEROP_NODE"]) / "call.mjs"
        self.check(["node", program], "hello from Node.js")
