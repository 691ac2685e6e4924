"""Google's libraries with the credential files that `countersign emulator credentials` hands out."""

import json
import os
import pathlib
import unittest

from googleapis import GoogleApis
from processes import AUDIENCE, CLIENTS, COUNTERSIGN, PYTHON, Stage, http, printed, run

STRANGER = "stranger@demo.iam.gserviceaccount.com"
GCLOUD_CLIENT_ID = "32555940559.apps.googleusercontent.com"


class Credentials(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stage = Stage()
        cls.addClassCleanup(cls.stage.close)
        cls.googleapis = GoogleApis(cls.stage.emulator.host(), cls.stage.home)
        cls.addClassCleanup(cls.googleapis.close)
        # An account that there is, and that nobody here may mint for.
        cls.stage.emulator.admin("metadata", {"account": STRANGER})

    def file(self, kind, change=lambda document: None, **of):
        """A credential file of this kind, and the environment that names it."""
        port = self.stage.emulator.url.rpartition(":")[2]
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in of.items()]
        command = [COUNTERSIGN, "emulator", "credentials", kind, "--port", port, *flags]
        document = json.loads(printed(command, self.stage.environment))
        change(document)
        path = self.stage.home / f"{kind}.json"
        path.write_text(json.dumps(document))
        environment = {**self.stage.environment, **self.googleapis.environment()}
        environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(path)
        self.googleapis.requests.clear()
        return document, environment

    def accepted(self, token):
        status, answer = self.stage.called.create(token)
        self.assertEqual(status, 201, answer)
        self.assertEqual(self.stage.called.whoami(token)["email"], self.stage.account)

    def fetch(self, environment):
        return printed([PYTHON, CLIENTS / "fetch_id_token.py", AUDIENCE], environment)

    def impersonate(self, environment, account=None, *delegates):
        program = [PYTHON, CLIENTS / "impersonated_id_token.py", account or self.stage.account, AUDIENCE, *delegates]
        return run(program, environment)

    def grant(self, account, member):
        """Lets the member mint as the account."""
        self.stage.emulator.admin("token-creators", {"account": account, "member": member})

    def accepted_when_granted(self, environment, member):
        """Impersonation of the called function's caller by this member: refused at first."""
        done = self.impersonate(environment)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "iam.serviceAccounts.getOpenIdToken|PERMISSION_DENIED")
        self.grant(self.stage.account, member)
        done = self.impersonate(environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.accepted(done.stdout.strip())

    def test_key_file(self):
        document, environment = self.file("service-account")
        self.assertEqual(document["type"], "service_account")
        self.accepted(self.fetch(environment))
        # The file says where to ask.
        self.assertEqual(self.googleapis.requests, [])

    def test_key_file_gives_access_tokens(self):
        _, environment = self.file("service-account")
        self.assertTrue(printed([PYTHON, CLIENTS / "access_token.py"], environment).startswith("ya29."))

    def test_key_file_of_another_key_is_refused(self):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        pem = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _, environment = self.file("service-account", lambda document: document.update(private_key=pem.decode()))
        done = run([PYTHON, CLIENTS / "fetch_id_token.py", AUDIENCE], environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Invalid JWT Signature.", done.stderr)

    def test_impersonation_by_a_key_file(self):
        robot = "robot@demo.iam.gserviceaccount.com"
        _, environment = self.file("service-account", account=robot)
        self.accepted_when_granted(environment, f"serviceAccount:{robot}")

    def test_impersonation_by_the_metadata_server(self):
        porter = "porter@demo.iam.gserviceaccount.com"
        server = self.stage.emulator.admin("metadata", {"account": porter})
        environment = {**self.stage.environment, **self.googleapis.environment(), **server["environment"]}
        self.accepted_when_granted(environment, f"serviceAccount:{porter}")

    def test_impersonation_by_a_login(self):
        _, environment = self.file("authorized-user", account="alice@example.com")
        self.accepted_when_granted(environment, "user:alice@example.com")

    def test_impersonation_by_delegates(self):
        first, second = (f"{name}@demo.iam.gserviceaccount.com" for name in ("first", "second"))
        _, environment = self.file("service-account", account=first)
        self.grant(second, f"serviceAccount:{first}")
        self.assertNotEqual(self.impersonate(environment, None, second).returncode, 0)
        self.grant(self.stage.account, f"serviceAccount:{second}")
        self.assertNotEqual(self.impersonate(environment).returncode, 0)
        done = self.impersonate(environment, None, second)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.accepted(done.stdout.strip())

    def test_impersonation_by_file(self):
        document, environment = self.file("impersonated")
        self.assertEqual(document["type"], "impersonated_service_account")
        self.accepted(self.fetch(environment))
        # Where tokens are generated is built into the library.
        path = f"/v1/projects/-/serviceAccounts/{self.stage.account}:generateIdToken"
        self.assertIn(f"iamcredentials.googleapis.com{path}", self.googleapis.requests)

    def test_impersonation_wants_the_role(self):
        _, environment = self.file("impersonated", lambda document: document.update(
            service_account_impersonation_url=document["service_account_impersonation_url"].replace(
                self.stage.account, STRANGER
            )
        ))
        done = run([PYTHON, CLIENTS / "fetch_id_token.py", AUDIENCE], environment)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "403|PERMISSION_DENIED")

    def test_workload_identity_federation(self):
        document, environment = self.file("external-account")
        self.assertEqual(document["type"], "external_account")
        self.assertTrue(printed([PYTHON, CLIENTS / "access_token.py"], environment).startswith("ya29."))
        # To get ID tokens, the workload impersonates; the account that it would be has no such right over itself.
        _, environment = self.file("external-account", lambda document: document.pop("service_account_impersonation_url"))
        done = self.impersonate(environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.accepted(done.stdout.strip())
        self.assertNotEqual(self.impersonate(environment, STRANGER).returncode, 0)

    def test_workload_identity_federation_by_a_file(self):
        subject_token = self.stage.home / "subject-token"
        _, environment = self.file("external-account", subject_token_file=str(subject_token))
        for text, code in [("not a token", 1), (http(f"{self.stage.emulator.url}/subject-token")[2], 0)]:
            subject_token.write_text(text)
            done = run([PYTHON, CLIENTS / "access_token.py"], environment)
            self.assertEqual(done.returncode, code, done.stderr)

    def test_a_login_has_its_client_for_an_audience(self):
        _, environment = self.file("authorized-user")
        access_token, id_token = printed([PYTHON, CLIENTS / "access_token.py"], environment).splitlines()
        self.assertTrue(access_token.startswith("ya29."))
        status, answer = self.stage.called.create(id_token)
        self.assertEqual((status, answer["code"]), (401, "wrong_audience"))
        verify = [PYTHON, CLIENTS / "verify_oauth2_token.py", GCLOUD_CLIENT_ID]
        self.assertIn("@", printed(verify, environment, id_token))

    def node(self, kind, *scopes):
        if "INTEROP_NODE" not in os.environ:
            self.skipTest("without Node.js")
        _, environment = self.file(kind)
        program = pathlib.Path(os.environ["INTEROP_NODE"]) / "fetch_id_token.mjs"
        self.accepted(printed(["node", program, AUDIENCE, *scopes], environment))

    def test_node_with_a_key_file(self):
        self.node("service-account")

    def test_node_impersonates(self):
        # The key that impersonates is for an access token, and for that the library wants to be told scopes.
        self.node("impersonated", "https://www.googleapis.com/auth/cloud-platform")

    def ours(self, kind):
        """`countersign token print` with such a file: the called function takes the token, and so does google-auth."""
        _, environment = self.file(kind)
        done = run([COUNTERSIGN, "token", "print", "--audience", AUDIENCE], environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.googleapis.requests, [])
        self.accepted(done.stdout.strip())
        verify = [PYTHON, CLIENTS / "verify_oauth2_token.py", AUDIENCE]
        self.assertEqual(printed(verify, environment, done.stdout), self.stage.account)

    def test_ours_with_a_key_file(self):
        self.ours("service-account")

    def test_ours_impersonates(self):
        self.ours("impersonated")

    def test_ours_federates(self):
        self.ours("external-account")

    def test_ours_says_what_a_login_is_good_for(self):
        _, environment = self.file("authorized-user")
        done = run([COUNTERSIGN, "token", "print", "--audience", AUDIENCE], environment)
        self.assertEqual((done.returncode == 0, done.stdout), (False, ""))
        self.assertIn("--impersonate-service-account", done.stderr)
