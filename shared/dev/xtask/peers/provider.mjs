// An identity provider of somebody else's: npm's oidc-provider (a certified implementation of OpenID Connect), and a person who logs in to it
// as a browser would, by authorization code with PKCE.
//
//   PORTS MODULES OUT    a provider at each of the four ports, one for each algorithm; MODULES is the folder with oidc-provider in it; when OUT
//                        is there, it has the tokens, and the providers go on serving their keys

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [ports, modules, out] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const client = 'sigstore';
const callback = 'http://localhost:1/callback';
const email = 'person@example.com';
const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  PS256: ['rsa', { modulusLength: 2048 }],
  EdDSA: ['ed25519', {}],
};

async function start(issuer, alg) {
  const { privateKey } = generateKeyPairSync(...kinds[alg]);
  const key = { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: alg };
  // The provider signs other things too, always with RS256.
  const { privateKey: other } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const spare = { ...other.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'spare' };
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: client,
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        redirect_uris: [callback],
        grant_types: ['authorization_code'],
        response_types: ['code'],
        id_token_signed_response_alg: alg,
      },
    ],
    jwks: { keys: [key, ...(alg === 'RS256' ? [] : [spare])] },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'PS256', 'EdDSA'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    cookies: { keys: [randomBytes(16).toString('hex')] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email, email_verified: true }),
    }),
  });
  const port = Number(new URL(issuer).port);
  await new Promise((listening) => provider.listen(port, 'localhost', listening));
}

async function token(issuer) {
  const verifier = randomBytes(32).toString('base64url');
  const cookies = new Map();
  const ask = async (url, form) => {
    const path = new URL(url, issuer);
    const answer = await fetch(path, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      redirect: 'manual',
    });
    for (const line of answer.headers.getSetCookie()) {
      const [name, ...value] = line.split(';')[0].split('=');
      cookies.set(name, value.join('='));
    }
    return answer;
  };
  const query = new URLSearchParams({
    client_id: client,
    redirect_uri: callback,
    response_type: 'code',
    scope: 'openid email',
    nonce: randomBytes(8).toString('hex'),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  let answer = await ask(`/auth?${query}`);
  for (let step = 0; step < 12; step++) {
    const next = answer.headers.get('location');
    if (next?.startsWith(callback)) {
      const code = new URL(next).searchParams.get('code');
      const given = await ask('/token', {
        grant_type: 'authorization_code',
        client_id: client,
        redirect_uri: callback,
        code,
        code_verifier: verifier,
      });
      return (await given.json()).id_token;
    }
    if (next) {
      answer = await ask(next);
      continue;
    }
    // A page: the form to log in, then the one to consent.
    const page = await answer.text();
    const action = page.match(/action="([^"]+)"/)?.[1];
    const prompt = page.match(/name="prompt" value="([^"]+)"/)?.[1];
    if (!action) throw new Error(`${answer.status}: ${page}`);
    answer = await ask(action, { prompt, login: 'person-1', password: 'unused' });
  }
  throw new Error('the login does not come to an end');
}

const tokens = {};
for (const [position, alg] of Object.keys(kinds).entries()) {
  const issuer = `http://localhost:${ports.split(',')[position]}`;
  await start(issuer, alg);
  tokens[issuer] = await token(issuer);
}
writeFileSync(`${out}.new`, JSON.stringify(tokens));
renameSync(`${out}.new`, out);
