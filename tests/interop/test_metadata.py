"""google-auth on the emulator's metadata server, as a program on Cloud Run has it."""

import unittest

from processes import AUDIENCE, CLIENTS, PYTHON, Stage, printed, run


class Metadata(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = Stage()
        cls.addClassCleanup(cls.stage.close)

    def fetch(self, audience, environment=None):
        program = [PYTHON, CLIENTS / "fetch_id_token.py", audience]
        return printed(program, environment or self.stage.environment)

    def test_a_fetched_token_is_accepted(self):
        token = self.fetch(AUDIENCE)
        status, answer = self.stage.called.create(token)
        self.assertEqual((status, answer["bar"]), (201, "interop"), answer)
        self.assertEqual(self.stage.called.whoami(token)["email"], self.stage.account)

    def test_a_token_for_another_audience_is_refused(self):
        status, answer = self.stage.called.create(self.fetch("https://another.interop.example"))
        self.assertEqual((status, answer["code"]), (401, "wrong_audience"))

    def test_a_token_of_another_account_is_refused(self):
        server = self.stage.emulator.admin("metadata", {"account": "stranger@demo.iam.gserviceaccount.com"})
        token = self.fetch(AUDIENCE, {**self.stage.environment, **server["environment"]})
        status, answer = self.stage.called.create(token)
        self.assertEqual((status, answer["code"]), (403, "principal_not_allowed"))

    def test_a_library_that_is_told_of_no_metadata_server_finds_none(self):
        environment = {**self.stage.environment, "NO_GCE_CHECK": "true", "GCE_METADATA_HOST": "127.0.0.1:1"}
        environment |= {"GCE_METADATA_IP": "127.0.0.1:1", "GCE_METADATA_ROOT": "127.0.0.1:1"}
        done = run([PYTHON, CLIENTS / "fetch_id_token.py", AUDIENCE], environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("DefaultCredentialsError", done.stderr)
