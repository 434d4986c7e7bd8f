// A person at Chromium, headless: opens the link, fills in each form that comes, and ends when the page says that one is signed in. Speaks the
// DevTools protocol over two pipes.
//
//   LINK LOG

import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [link, log] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
const chromium = spawn(
  'chromium',
  [
    '--headless=new',
    // As root, and in a container, there is no sandbox to be had; it opens nothing but this machine's pages.
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--no-proxy-server',
    `--user-data-dir=${profile}`,
    '--remote-debugging-pipe',
  ],
  { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
);
const [, , , to, from] = chromium.stdio;
const waiting = new Map();
let read = '';
from.setEncoding('utf8');
from.on('data', (piece) => {
  read += piece;
  for (let end = read.indexOf('\0'); end >= 0; end = read.indexOf('\0')) {
    const message = JSON.parse(read.slice(0, end));
    read = read.slice(end + 1);
    waiting.get(message.id)?.(message);
    waiting.delete(message.id);
  }
});
let count = 0;
function ask(method, params = {}, sessionId = undefined) {
  const id = ++count;
  const answer = new Promise((answered) => waiting.set(id, answered));
  to.write(JSON.stringify({ id, method, params, sessionId }) + '\0');
  return answer;
}

const step = `(() => {
  if (document.readyState !== 'complete') return 'loading';
  if (document.body.innerText.includes('Signed in.')) return 'done';
  const form = document.forms[0];
  if (!form || form.dataset.sent) return 'waiting at ' + location.host + location.pathname;
  const login = form.querySelector('[name=login]');
  if (login) {
    login.value = 'person';
    form.querySelector('[name=password]').value = 'unused';
  }
  form.dataset.sent = 'yes';
  form.requestSubmit();
  return 'sent the form of ' + location.host + location.pathname.split('/')[1];
})()`;

let told = '';
try {
  const target = await ask('Target.createTarget', { url: link });
  const attached = await ask('Target.attachToTarget', {
    targetId: target.result.targetId,
    flatten: true,
  });
  const session = attached.result.sessionId;
  for (let turn = 0; turn < 200; turn++) {
    const answer = await ask('Runtime.evaluate', { expression: step }, session);
    const value = String(answer.result?.result?.value ?? 'a page that goes away');
    if (value !== told) appendFileSync(log, value + '\n');
    told = value;
    if (value === 'done') break;
    await new Promise((over) => setTimeout(over, 150));
  }
} finally {
  const gone = new Promise((over) => chromium.on('exit', over));
  chromium.kill();
  await gone;
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
process.exit(told === 'done' ? 0 : 1);
