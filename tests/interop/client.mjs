// A client made from third parties' HPKE alone, by docs/protocol.md §5.4 and §5.7: it asks one question and prints what it heard.
// It believes the evidence's keys without judging them; nobody's prompt depends on it.
import { createDecipheriv, createHmac } from 'node:crypto';
import * as hpke from 'hpke';
import * as noble from '@panva/hpke-noble';

const { ROUTER: router, PROMPT: prompt } = process.env;
const text = new TextEncoder();
const get = async (path) => (await fetch(router + path)).json();

const node = (await get('/v1/fleet')).nodes[0].id;
const evidence = await get(`/v1/nodes/${node}/evidence`);
const keys = Buffer.from(evidence.ohttp_keys[1], 'base64url');
// length(2) key_id(1) kem(2) public(1216) suites
const suite = new hpke.CipherSuite(noble.KEM_MLKEM768_X25519, noble.KDF_HKDF_SHA256, noble.AEAD_AES_256_GCM);
const header = Buffer.from([keys[2], 0x64, 0x7a, 0, 1, 0, 2]);
const key = await suite.DeserializePublicKey(Uint8Array.from(keys.subarray(5, 5 + 1216)));
const info = Buffer.concat([text.encode('message/bhttp chunked request'), Buffer.from([0]), header]);
const { encapsulatedSecret: enc, ctx } = await suite.SetupSender(key, { info: Uint8Array.from(info) });

function varint(n) {
  if (n < 1 << 6) return Buffer.from([n]);
  if (n < 1 << 14) return Buffer.from([0x40 | (n >> 8), n & 255]);
  return Buffer.from([0x80 | (n >>> 24), (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);
}
const string = (value) => Buffer.concat([varint(Buffer.byteLength(value)), Buffer.from(value)]);
const question = JSON.stringify({ model: 'echo', stream: true, messages: [{ role: 'user', content: prompt }] });
const fields = Buffer.concat([string('content-type'), string('application/json')]);
const control = ['POST', 'https', `${node}.veritee.invalid`, '/v1/chat/completions'].map(string);
const message = Buffer.concat([varint(0), ...control, string(fields), string(question), varint(0)]);
const padded = Buffer.concat([message, Buffer.alloc(1024 - message.length)]);
// Two chunks, where our own client sends one.
const first = await ctx.Seal(Uint8Array.from(padded.subarray(0, 100)), new Uint8Array());
const last = await ctx.Seal(Uint8Array.from(padded.subarray(100)), text.encode('final'));
const body = Buffer.concat([header, enc, varint(first.length), first, varint(0), last]);

const answer = await fetch(`${router}/v1/nodes/${node}/ohttp`, {
  method: 'POST',
  headers: { 'content-type': 'message/ohttp-chunked-req', incremental: '?1' },
  body,
});
let rest = Buffer.from(await answer.arrayBuffer());

const secret = await ctx.Export(text.encode('message/bhttp chunked response'), 32);
const hmac = (salt, data) => createHmac('sha256', salt).update(data).digest();
const prk = hmac(Buffer.concat([enc, rest.subarray(0, 32)]), secret);
const expand = (label, length) => hmac(prk, Buffer.concat([text.encode(label), Buffer.from([1])])).subarray(0, length);
const [aead, iv] = [expand('key', 32), expand('nonce', 12)];
rest = rest.subarray(32);

let count = 0;
function open(sealed, aad) {
  const nonce = Buffer.from(iv);
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ count++) >>> 0, 8);
  const cipher = createDecipheriv('aes-256-gcm', aead, nonce);
  cipher.setAAD(Buffer.from(aad));
  cipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([cipher.update(sealed.subarray(0, -16)), cipher.final()]);
}
// Reads a variable-length integer; what follows it is left in `from.rest`.
function take(from) {
  const size = 1 << (from.rest[0] >> 6);
  let value = from.rest[0] & 63;
  for (let i = 1; i < size; i++) value = value * 256 + from.rest[i];
  from.rest = from.rest.subarray(size);
  return value;
}
function takeString(from) {
  const length = take(from);
  const value = from.rest.subarray(0, length);
  from.rest = from.rest.subarray(length);
  return value;
}
const chunks = { rest };
const lengths = [];
let plain = Buffer.alloc(0);
for (;;) {
  const length = take(chunks);
  lengths.push(length);
  const sealed = length ? chunks.rest.subarray(0, length) : chunks.rest;
  plain = Buffer.concat([plain, open(sealed, length ? '' : 'final')]);
  if (!length) break;
  chunks.rest = chunks.rest.subarray(length);
}

const inner = { rest: plain };
if (take(inner) !== 3) throw new Error('not a response of indeterminate length');
const status = take(inner);
function section() {
  const read = {};
  for (;;) {
    const name = takeString(inner).toString();
    if (!name) return read;
    read[name] = takeString(inner).toString();
  }
}
const head = section();
let content = '';
for (let piece; (piece = takeString(inner)).length; ) content += piece;
const trailers = section();
const events = content.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6));
console.log(JSON.stringify({ outer: answer.status, status, type: head['content-type'], lengths, content, events, trailers,
  header: Buffer.concat([header, enc]).toString('hex') }));
