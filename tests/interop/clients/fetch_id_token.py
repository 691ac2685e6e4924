"""Prints the ID token that Google's library finds for an audience: fetch_id_token.py AUDIENCE"""

import sys

import google.auth.transport.requests
import google.oauth2.id_token

print(google.oauth2.id_token.fetch_id_token(google.auth.transport.requests.Request(), sys.argv[1]))
