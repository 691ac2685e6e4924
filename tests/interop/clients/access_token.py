"""Prints the access token that Google's library gets with the environment's credentials; after it an ID token, if one came."""

import google.auth
import google.auth.transport.requests

credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
credentials.refresh(google.auth.transport.requests.Request())
print(credentials.token)
print(getattr(credentials, "id_token", None) or "")
