"""Calls a private service with Google's own library: call.py URL [AUDIENCE]

pip install google-auth requests
"""

import sys
from urllib.parse import urlsplit

import google.auth.transport.requests
import google.oauth2.id_token
import requests

url = sys.argv[1]
parts = urlsplit(url)
# The service's root, without path and query; or its custom audience.
audience = sys.argv[2] if len(sys.argv) > 2 else f"{parts.scheme}://{parts.netloc}"
if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
    sys.exit(f"{url}: a token is not sent over {parts.scheme}; expected https")

# From GOOGLE_APPLICATION_CREDENTIALS, or of the account that this runs as on Google Cloud. Good for an hour: a program
# that lives longer keeps it, and asks anew before it expires.
token = google.oauth2.id_token.fetch_id_token(google.auth.transport.requests.Request(), audience)

# Both headers: Cloud Run checks the second one and may cut the signature out of it; the first reaches the service intact.
bearer = f"Bearer {token}"
answer = requests.post(
    url,
    json={"bar": "hello from Python"},
    headers={"Authorization": bearer, "X-Serverless-Authorization": bearer},
    timeout=30,
    allow_redirects=False,  # a token goes to the service that it is for, and nowhere else
)
print(answer.status_code, answer.text)
sys.exit(0 if answer.ok and not answer.is_redirect else 1)
