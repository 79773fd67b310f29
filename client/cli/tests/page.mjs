// Shows a page to a browser, as wide and as dark as each look says, and reports what the browser makes of it.
// node --experimental-websocket page.mjs BROWSER PROFILE PAGE WIDTH,SCHEME[,PICTURE]…
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const [browser, profile, page, ...looks] = process.argv.slice(2);
// As root, as tests in containers run, its own sandbox does not start. It meets our own pages alone.
const options = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--no-proxy-server',
  '--disable-background-networking', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'];
const env = { ...process.env, LD_LIBRARY_PATH: `${browser}/lib` };
const child = spawn(`${browser}/chromium`, options, { env, stdio: ['ignore', 'ignore', 'pipe'] });
setTimeout(() => { child.kill('SIGKILL'); process.exit(1); }, 60_000).unref();

const address = await new Promise((resolve) => {
  let said = '';
  child.stderr.on('data', (data) => {
    said += data;
    const found = said.match(/ws:\/\/\S+/);
    if (found) resolve(found[0]);
  });
});
const socket = new WebSocket(address);
await new Promise((resolve) => { socket.onopen = resolve; });
const waiting = new Map();
let last = 0;
let events = [];
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (!message.id) return events.push(message);
  waiting.get(message.id)(message.result);
  return waiting.delete(message.id);
};
const send = (method, params = {}, sessionId = undefined) => new Promise((resolve) => {
  last += 1;
  waiting.set(last, resolve);
  socket.send(JSON.stringify({ id: last, method, params, sessionId }));
});

const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
const ask = (method, params) => send(method, params, sessionId);
for (const domain of ['Page', 'Log', 'Network', 'Runtime']) await ask(`${domain}.enable`);

const what = `JSON.stringify({
  width: innerWidth,
  scroll: document.documentElement.scrollWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  head: getComputedStyle(document.querySelector('thead')).display,
  text: document.body.innerText.length,
})`;
const seen = [];
for (const look of looks) {
  const [width, scheme, picture] = look.split(',');
  const metrics = { width: Number(width), height: 1000, deviceScaleFactor: 1, mobile: width < 600 };
  await ask('Emulation.setDeviceMetricsOverride', metrics);
  await ask('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  events = [];
  await ask('Page.navigate', { url: `file://${page}` });
  while (!events.some(({ method }) => method === 'Page.loadEventFired')) {
    await new Promise((resolve) => { setTimeout(resolve, 25); });
  }
  const { result } = await ask('Runtime.evaluate', { expression: what });
  const of = (method) => events.filter((event) => event.method === method);
  seen.push({
    ...JSON.parse(result.value),
    requests: of('Network.requestWillBeSent').map(({ params }) => params.request.url),
    logged: of('Log.entryAdded').map(({ params }) => params.entry.text),
  });
  if (picture) {
    const { data } = await ask('Page.captureScreenshot', { format: 'png' });
    writeFileSync(picture, Buffer.from(data, 'base64'));
  }
}
process.stdout.write(JSON.stringify(seen), () => { child.kill('SIGKILL'); process.exit(0); });
