"""Prints an ID token of a service account that the environment's credentials impersonate.

impersonated_id_token.py ACCOUNT AUDIENCE [DELEGATE…]
"""

import sys

import google.auth
import google.auth.transport.requests
from google.auth import impersonated_credentials

account, audience, *delegates = sys.argv[1:]
scopes = ["https://www.googleapis.com/auth/cloud-platform"]
source, _ = google.auth.default(scopes=scopes)
target = impersonated_credentials.Credentials(source, account, scopes, delegates=delegates)
token = impersonated_credentials.IDTokenCredentials(target, target_audience=audience, include_email=True)
token.refresh(google.auth.transport.requests.Request())
print(token.token)
