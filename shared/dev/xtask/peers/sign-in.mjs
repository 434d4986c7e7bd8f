// An identity provider of somebody else's: npm's oidc-provider (a certified implementation of OpenID Connect), for clients that sign in by themselves.
//
//   EMAIL_PORT BOT_PORT REDIRECT MODULES OUT
//
// At EMAIL_PORT people sign in on pages, with tokens of ES256; the client `sigstore` is sent back to REDIRECT and nowhere else, or gets a code for
// another device. At BOT_PORT the client `release-bot` signs in as itself, by its secret, and gets access tokens that are JWTs. OUT is written when
// both listen.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [emailPort, botPort, redirect, modules, out] = process.argv.slice(2);
const require = createRequire(modules + '/');
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

function keys() {
  const key = (kind, options, alg) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
    alg,
    use: 'sig',
    kid: alg,
  });
  return [key('ec', { namedCurve: 'P-256' }, 'ES256'), key('rsa', { modulusLength: 2048 }, 'RS256')];
}

async function start(port, configuration) {
  const provider = new Provider(`http://localhost:${port}`, {
    jwks: { keys: keys() },
    enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    cookies: { keys: [randomBytes(16).toString('hex')] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true }),
    }),
    ...configuration,
  });
  await new Promise((listening) => provider.listen(Number(port), 'localhost', listening));
}

await start(emailPort, {
  clients: [
    {
      client_id: 'sigstore',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      redirect_uris: [redirect],
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      id_token_signed_response_alg: 'ES256',
    },
  ],
  features: { deviceFlow: { enabled: true } },
});
await start(botPort, {
  clients: [
    {
      client_id: 'release-bot',
      client_secret: 'the secret of the release bot',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    },
  ],
  scopes: ['openid', 'email'],
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:sigstore',
      getResourceServerInfo: () => ({
        scope: 'openid email',
        audience: 'sigstore',
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
writeFileSync(out, '');
