"""google-auth, by verify_oauth2_token, takes what our side mints and refuses what our side refuses."""

import unittest

from googleapis import GoogleApis
from processes import AUDIENCE, CLIENTS, COUNTERSIGN, PYTHON, Stage, printed, run

# What google-auth can see by itself. It takes the rest: `nbf` it does not read.
REFUSED_BY_GOOGLE_AUTH = [
    "expired",
    "issued-in-the-future",
    "wrong-audience",
    "wrong-issuer",
    "forged-same-kid",
    "alg-none",
]


class Verification(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = Stage()
        cls.addClassCleanup(cls.stage.close)
        cls.googleapis = GoogleApis(cls.stage.emulator.host(), cls.stage.home)
        cls.addClassCleanup(cls.googleapis.close)
        cls.environment = {**cls.stage.environment, **cls.googleapis.environment()}
        cls.program = [PYTHON, CLIENTS / "verify_oauth2_token.py", AUDIENCE]

    def verified(self, token):
        """Whom google-auth takes the token for."""
        return printed(self.program, self.environment, token)

    def test_a_token_of_our_source_is_verified(self):
        token = printed([COUNTERSIGN, "token", "print", "--audience", AUDIENCE], self.stage.environment)
        self.assertEqual(self.verified(token), self.stage.account)
        self.assertEqual(self.googleapis.requests[-1], "www.googleapis.com/oauth2/v1/certs")

    def test_a_minted_token_is_verified_by_both(self):
        token = self.stage.emulator.token()
        self.assertEqual(self.verified(token), self.stage.account)
        self.assertEqual(self.stage.called.create(token)[0], 201)

    def test_both_follow_a_rotation_of_the_keys(self):
        old = self.stage.emulator.token()
        self.stage.emulator.admin("keys/rotate", {"overlap": True})
        new = self.stage.emulator.token()
        for token in (old, new):
            self.assertEqual(self.verified(token), self.stage.account)
            self.assertEqual(self.stage.called.create(token)[0], 201)

    def test_bad_tokens_are_refused_by_both(self):
        for bad in REFUSED_BY_GOOGLE_AUTH:
            with self.subTest(bad):
                token = self.stage.emulator.token(bad=bad)
                done = run(self.program, self.environment, token)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertRegex(done.stderr, "ValueError|google.auth.exceptions")
                self.assertNotIn("TransportError", done.stderr)
                self.assertEqual(self.stage.called.create(token)[0], 401)

    def test_every_bad_token_is_refused_by_ours(self):
        bad_tokens = self.stage.emulator.admin("tokens/bad")["bad_tokens"]
        self.assertGreater(len(bad_tokens), 20)
        for bad in bad_tokens:
            with self.subTest(bad["name"]):
                status, answer = self.stage.called.create(self.stage.emulator.token(bad=bad["name"]))
                self.assertIn(status, (401, 403), answer)
