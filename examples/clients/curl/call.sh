#!/usr/bin/env bash
# Calls a private service with curl: call.sh URL [AUDIENCE]
#
# The token comes from countersign, which looks where Google's libraries look.

set -euo pipefail

url=${1:?expected the URL of a service}
# The service's root, without path and query; or its custom audience.
origin=$(sed -E 's,^(https?://[^/?#]+).*,\1,' <<<"$url")
audience=${2:-$origin}
case $origin in
    https://* | http://127.0.0.1:* | http://\[::1\]:* | http://localhost:*) ;;
    *) echo "$url: a token is not sent over plain http; expected https" >&2 && exit 1 ;;
esac

token=$(countersign token print --audience "$audience")

# Both headers: Cloud Run checks the second one and may cut the signature out of it; the first reaches the service intact.
# By --config on stdin, because arguments can be read by everybody on the machine. Without --location, because a token
# goes to the service that it is for, and nowhere else.
printf 'header = "%s: Bearer '"$token"'"\n' Authorization X-Serverless-Authorization \
    | curl --config - --silent --show-error --fail-with-body --max-time 30 --write-out '\n' \
        --header 'Content-Type: application/json' --data '{"bar": "hello from curl"}' "$url"
