// usage: node tuf.js tuf-js|sigstore-js URL ROOT CACHE TARGET...
// Follows a TUF repository from the given root, or from what is in the cache, and fetches targets.
const fs = require('node:fs');
const path = require('node:path');

const [library, url, root, cache, ...targets] = process.argv.slice(2);
const known = fs.existsSync(cache);

async function tufJs() {
  const { Updater } = require('tuf-js');
  if (!known) {
    fs.mkdirSync(path.join(cache, 'targets'), { recursive: true });
    fs.copyFileSync(root, path.join(cache, 'root.json'));
  }
  const updater = new Updater({
    metadataBaseUrl: url,
    metadataDir: cache,
    targetBaseUrl: `${url}/targets`,
    targetDir: path.join(cache, 'targets'),
  });
  await updater.refresh();
  for (const name of targets) {
    const info = await updater.getTargetInfo(name);
    if (!info) throw new Error(`no target ${name}`);
    await updater.downloadTarget(info);
  }
}

async function sigstoreJs() {
  const { initTUF } = require('@sigstore/tuf');
  const tuf = await initTUF({ mirrorURL: url, rootPath: root, cachePath: cache, forceInit: !known });
  for (const name of targets) await tuf.getTarget(name);
}

(library === 'tuf-js' ? tufJs() : sigstoreJs()).catch((error) => {
  console.error(`${error.name}: ${error.message}`, error.cause ?? '');
  process.exit(1);
});
