"""google-auth verifies what our side mints, and refuses what our side refuses."""

import unittest

import google.auth.transport.requests
import google.oauth2.id_token
from google.auth.exceptions import GoogleAuthError

from processes import AUDIENCE, COUNTERSIGN, Stage, printed

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

    def verify(self, token):
        """As verify_oauth2_token does it, with the emulator's certificates."""
        claims = google.oauth2.id_token.verify_token(
            token,
            google.auth.transport.requests.Request(),
            audience=AUDIENCE,
            certs_url=f"{self.stage.emulator.url}/oauth2/v1/certs",
        )
        if claims["iss"] not in ("accounts.google.com", "https://accounts.google.com"):
            raise GoogleAuthError("wrong issuer")
        return claims

    def test_a_token_of_our_source_is_verified(self):
        token = printed([COUNTERSIGN, "token", "print", "--audience", AUDIENCE], self.stage.environment)
        claims = self.verify(token)
        self.assertEqual((claims["aud"], claims["email"]), (AUDIENCE, self.stage.account))
        self.assertIs(claims["email_verified"], True)

    def test_a_minted_token_is_verified_by_both(self):
        token = self.stage.emulator.token()
        self.assertEqual(self.verify(token)["aud"], AUDIENCE)
        self.assertEqual(self.stage.called.create(token)[0], 201)

    def test_both_follow_a_rotation_of_the_keys(self):
        old = self.stage.emulator.token()
        self.stage.emulator.admin("keys/rotate", {"overlap": True})
        new = self.stage.emulator.token()
        for token in (old, new):
            self.assertEqual(self.verify(token)["aud"], AUDIENCE)
            self.assertEqual(self.stage.called.create(token)[0], 201)

    def test_bad_tokens_are_refused_by_both(self):
        for bad in REFUSED_BY_GOOGLE_AUTH:
            with self.subTest(bad):
                token = self.stage.emulator.token(bad=bad)
                with self.assertRaises((ValueError, GoogleAuthError)):
                    self.verify(token)
                self.assertEqual(self.stage.called.create(token)[0], 401)

    def test_every_bad_token_is_refused_by_ours(self):
        bad_tokens = self.stage.emulator.admin("tokens/bad")["bad_tokens"]
        self.assertGreater(len(bad_tokens), 20)
        for bad in bad_tokens:
            with self.subTest(bad["name"]):
                status, answer = self.stage.called.create(self.stage.emulator.token(bad=bad["name"]))
                self.assertIn(status, (401, 403), answer)
