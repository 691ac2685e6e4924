// Calls a private service with Google's own library: node call.mjs URL [AUDIENCE]
//
// npm install

import {GoogleAuth} from 'google-auth-library';

const url = new URL(process.argv[2]);
// The service's root, without path and query; or its custom audience.
const audience = process.argv[3] ?? url.origin;
if (url.protocol !== 'https:' && !['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)) {
  throw new Error(`${url}: a token is not sent over ${url.protocol} expected https:`);
}

// From GOOGLE_APPLICATION_CREDENTIALS, or of the account that this runs as on Google Cloud. Good for an hour: the client
// keeps the token, and asks anew when it has expired.
const client = await new GoogleAuth().getIdTokenClient(audience);
const bearer = (await client.getRequestHeaders()).get('authorization');

// Both headers: Cloud Run checks the second one and may cut the signature out of it; the first reaches the service intact.
const answer = await fetch(url, {
  method: 'POST',
  headers: {
    'Authorization': bearer,
    'X-Serverless-Authorization': bearer,
    'Content-Type': 'application/json',
  },
  body: JSON.stringify({bar: 'hello from Node.js'}),
  redirect: 'error', // a token goes to the service that it is for, and nowhere else
  signal: AbortSignal.timeout(30_000),
});
console.log(answer.status, await answer.text());
process.exitCode = answer.ok ? 0 : 1;
