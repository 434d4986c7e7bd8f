// usage: node tuf-probes.js FOLDER
// Follows each repository that tuf-probes.py made with tuf-js, and prints {NUMBER: [accepted, word]} as JSON.
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Readable } = require('node:stream');
const { BaseFetcher, Updater } = require('tuf-js');
// By this class it knows that a root is missing.
const { DownloadHTTPError } = require('tuf-js/dist/error');

class Folder extends BaseFetcher {
  async fetch(url) {
    const file = decodeURIComponent(url.slice('http://probe'.length));
    try {
      return Readable.from([fs.readFileSync(file)]);
    } catch {
      throw new DownloadHTTPError(`no ${file}`, 404);
    }
  }
}

async function follow(place) {
  const wanted = JSON.parse(fs.readFileSync(path.join(place, 'case.json')));
  const cache = fs.mkdtempSync(path.join(os.tmpdir(), 'probe-'));
  try {
    fs.copyFileSync(path.join(place, 'root.json'), path.join(cache, 'root.json'));
    const updater = new Updater({
      metadataBaseUrl: `http://probe${place}/repository`,
      metadataDir: cache,
      targetBaseUrl: `http://probe${place}/repository/targets`,
      targetDir: cache,
      fetcher: new Folder(),
    });
    await updater.refresh();
    const info = await updater.getTargetInfo(wanted.target);
    if (!info) return [false, 'no target'];
    const file = await updater.downloadTarget(info, path.join(cache, 'target'));
    const same = fs.readFileSync(file, 'utf8') === wanted.content;
    return [same, same ? 'accepted' : 'another content'];
  } catch (error) {
    return [false, `${error.name}: ${String(error.message).slice(0, 120)}`];
  } finally {
    fs.rmSync(cache, { recursive: true, force: true });
  }
}

(async () => {
  const folder = path.resolve(process.argv[2]);
  const verdicts = {};
  for (const name of fs.readdirSync(folder).sort()) {
    verdicts[name] = await follow(path.join(folder, name));
  }
  console.log(JSON.stringify(verdicts));
})();
