"""Prints the address in a token from stdin that Google's library takes: verify_oauth2_token.py AUDIENCE"""

import sys

import google.auth.transport.requests
import google.oauth2.id_token

request = google.auth.transport.requests.Request()
print(google.oauth2.id_token.verify_oauth2_token(sys.stdin.read().strip(), request, sys.argv[1])["email"])
