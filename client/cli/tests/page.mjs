// Shows a page to a browser, as wide and as dark as each look says, and reports what the browser makes of it.
// node --experimental-websocket page.mjs BROWSER PROFILE PAGE WIDTH,SCHEME[,PICTURE]… WIDTH,SCHEME,,PRINTED…
// With PRINTED the look is that of paper, whose PDF goes into that file.
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
// What paper is to be like: nothing outside it, nothing cut that belongs together, and everything legible on white.
const onPaper = `JSON.stringify((() => {
  const all = [...document.querySelectorAll('main *')].filter((it) => it.getClientRects().length > 0);
  const style = (it) => getComputedStyle(it);
  const channels = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (color) => channels(color).slice(0, 3)
    .map((it) => it / 255).map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4))
    .reduce((sum, it, at) => sum + it * [0.2126, 0.7152, 0.0722][at], 0);
  const paints = (it) => channels(style(it).backgroundColor)[3] !== 0;
  return {
    outside: all.filter((it) => it.getBoundingClientRect().right > innerWidth + 1).map((it) => it.outerHTML.slice(0, 80)),
    over: all.filter((it) => it.matches('dt, dd, td, th') && it.scrollWidth > it.clientWidth + 1).map((it) => it.outerHTML.slice(0, 80)),
    cut: all.filter((it) => it.matches('tr, li, .verdict, .note, dd') && style(it).breakInside !== 'avoid').length,
    parted: all.filter((it) => it.matches('h2, h3, h3 + p, thead') && style(it).breakAfter !== 'avoid').length,
    faint: all.filter((it) => 1.05 / (light(style(it).color) + 0.05) < 7).map((it) => it.outerHTML.slice(0, 80)),
    painted: all.filter((it) => paints(it) && light(style(it).backgroundColor) < 0.95).map((it) => it.outerHTML.slice(0, 80)),
    rows: all.filter((it) => it.matches('tr')).length,
    octets: all.filter((it) => it.matches('details')).length,
    told: all.filter((it) => it.matches('.paper')).length,
  };
})())`;
const seen = [];
for (const look of looks) {
  const [width, scheme, picture, printed] = look.split(',');
  const metrics = { width: Number(width), height: 1000, deviceScaleFactor: 1, mobile: width < 600 };
  await ask('Emulation.setDeviceMetricsOverride', metrics);
  await ask('Emulation.setEmulatedMedia', { media: printed ? 'print' : '', features: [{ name: 'prefers-color-scheme', value: scheme }] });
  events = [];
  await ask('Page.navigate', { url: `file://${page}` });
  while (!events.some(({ method }) => method === 'Page.loadEventFired')) {
    await new Promise((resolve) => { setTimeout(resolve, 25); });
  }
  const { result } = await ask('Runtime.evaluate', { expression: what });
  const of = (method) => events.filter((event) => event.method === method);
  seen.push({
    ...JSON.parse(result.value),
    ...(printed ? JSON.parse((await ask('Runtime.evaluate', { expression: onPaper })).result.value) : {}),
    requests: of('Network.requestWillBeSent').map(({ params }) => params.request.url),
    logged: of('Log.entryAdded').map(({ params }) => params.entry.text),
  });
  if (picture) {
    const { data } = await ask('Page.captureScreenshot', { format: 'png' });
    writeFileSync(picture, Buffer.from(data, 'base64'));
  }
  if (printed) {
    const { data } = await ask('Page.printToPDF', { preferCSSPageSize: true });
    writeFileSync(printed, Buffer.from(data, 'base64'));
  }
}
process.stdout.write(JSON.stringify(seen), () => { child.kill('SIGKILL'); process.exit(0); });
