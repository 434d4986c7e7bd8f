// usage: node verify.js TRUSTED_ROOT BUNDLE ARTIFACT IDENTITY ISSUER
// Verifies a bundle with the libraries of sigstore-js; a refusal ends with exit code 1 and its code on standard error.
const fs = require('node:fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const [trustedRoot, bundle, artifact, identity, issuer] = process.argv.slice(2);
const json = (path) => JSON.parse(fs.readFileSync(path, 'utf8'));
try {
  const trust = toTrustMaterial(TrustedRoot.fromJSON(json(trustedRoot)));
  const parsed = bundleFromJSON(json(bundle));
  const entity = parsed.content.$case === 'dsseEnvelope'
    ? toSignedEntity(parsed)
    : toSignedEntity(parsed, fs.readFileSync(artifact));
  const signer = new Verifier(trust).verify(entity, {
    subjectAlternativeName: identity,
    extensions: { issuer },
  });
  console.log(signer.identity.subjectAlternativeName);
} catch (error) {
  console.error(`${error.code}: ${error.message}`);
  process.exit(1);
}
