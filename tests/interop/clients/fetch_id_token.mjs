// Prints the ID token that Google's library finds for an audience: node fetch_id_token.mjs AUDIENCE [SCOPE…]

import {GoogleAuth} from 'google-auth-library';

const [audience, ...scopes] = process.argv.slice(2);
const client = await new GoogleAuth({scopes: scopes.length > 0 ? scopes : undefined}).getIdTokenClient(audience);
const bearer = (await client.getRequestHeaders()).get('authorization');
console.log(bearer.replace('Bearer ', ''));
