// usage: node sign.js SIGNING_CONFIG TOKEN message|dsse|intoto FILE OUT
// Signs a file with the libraries of sigstore-js against the services that a signing config names.
const fs = require('node:fs');
const { bundleToJSON } = require('@sigstore/bundle');
const { DSSEBundleBuilder, FulcioSigner, MessageSignatureBundleBuilder, RekorWitness, TSAWitness } = require('@sigstore/sign');

const [signingConfig, token, form, file, out] = process.argv.slice(2);
const services = JSON.parse(fs.readFileSync(signingConfig, 'utf8'));
const timeout = 10000;
const options = {
  signer: new FulcioSigner({
    fulcioBaseURL: services.caUrls[0].url,
    identityProvider: { getToken: async () => token },
    timeout,
  }),
  witnesses: [
    new RekorWitness({
      rekorBaseURL: services.rekorTlogUrls[0].url,
      majorApiVersion: services.rekorTlogUrls[0].majorApiVersion,
      entryType: form === 'intoto' ? 'intoto' : 'dsse',
      timeout,
    }),
    new TSAWitness({ tsaBaseURL: services.tsaUrls[0].url, timeout }),
  ],
};
const builder = form !== 'message' ? new DSSEBundleBuilder(options) : new MessageSignatureBundleBuilder(options);
const artifact = { data: fs.readFileSync(file), type: 'application/vnd.in-toto+json' };
builder.create(artifact).then(
  (bundle) => fs.writeFileSync(out, JSON.stringify(bundleToJSON(bundle))),
  (error) => {
    console.error(`${error.code}: ${error.message}: ${error.cause && error.cause.message}`);
    process.exit(1);
  },
);
