// Makes calls with the unmodified openai package: one of JSON a line comes in, and what the caller saw of it goes out.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { helpers } from './helpers.mjs';

// Packages are where it runs, not where it is.
const require = createRequire(`${process.cwd()}/`);
const { OpenAI } = require('openai');
const HELPERS = helpers(require);
const baseURL = process.argv[2];

// What an error tells whoever catches it.
function told(error) {
  const { status, code, param, type, headers } = error;
  const retryAfter = headers?.get?.('retry-after') ?? null;
  const seen = { status: status ?? null, code: code ?? null, param: param ?? null, type: type ?? null };
  return { class: error.constructor.name, ...seen, retry_after: retryAfter };
}

const blank = () => ({ id: null, text: '', finish: null, usage: null, logprobs: [], events: 0, error: null });

// Adds an answer, or an event of one, to what was seen.
function take(seen, answer) {
  seen.id = answer.id;
  const usage = answer.usage;
  if (usage) seen.usage = [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens];
  for (const choice of answer.choices) {
    const text = (choice.delta ?? choice.message)?.content ?? choice.text ?? '';
    seen.text += text;
    seen.events += text ? 1 : 0;
    seen.finish = choice.finish_reason ?? seen.finish;
    if (choice.logprobs) seen.logprobs.push(choice.logprobs);
  }
}

function headers(response) {
  const names = ['x-veritee-node', 'x-veritee-verdict', 'content-type', 'cache-control'];
  return Object.fromEntries(names.map((name) => [name, response.headers.get(name)]));
}

// A chat or a completion, streamed or not; `take` leaves a stream after so many events with text.
async function ask(client, call) {
  const seen = blank();
  try {
    const resource = call.do === 'completion' ? client.completions : client.chat.completions;
    const answer = await resource.create(call.params);
    if (!call.params.stream) {
      take(seen, answer);
      return seen;
    }
    for await (const event of answer) {
      take(seen, event);
      if (seen.events === call.take) break;
    }
  } catch (error) {
    seen.error = told(error);
  }
  return seen;
}

// The response itself, and what it parses to.
async function raw(client, call) {
  const { data, response } = await client.chat.completions.create(call.params).withResponse();
  const seen = blank();
  take(seen, data);
  return { ...seen, headers: headers(response), status: response.status };
}

// The response as it arrives, line by line.
async function lines(client, call) {
  const response = await client.chat.completions.create(call.params).asResponse();
  const read = [];
  const body = createInterface({ input: (await import('node:stream')).Readable.fromWeb(response.body) });
  for await (const line of body) if (line) read.push(line);
  return { headers: headers(response), status: response.status, lines: read };
}

// Vectors in their order. Unless told otherwise the package asks for base64, and makes numbers of it.
async function embeddings(client, call) {
  const { data, model, usage } = await client.embeddings.create(call.params);
  const vectors = data.map(({ embedding }) => embedding);
  const order = data.map(({ index }) => index);
  return { vectors, order, model, usage: [usage.prompt_tokens, usage.total_tokens] };
}

async function other(client, call) {
  switch (call.do) {
    case 'raw':
      return raw(client, call);
    case 'lines':
      return lines(client, call);
    case 'models': {
      const names = [];
      for await (const model of client.models.list()) names.push(model.id);
      return names;
    }
    case 'model':
      return (await client.models.retrieve(call.name)).id;
    case 'embedding':
      return embeddings(client, call);
    case 'get':
      return client.get(call.path);
    default:
      return HELPERS[call.do](client, call);
  }
}

const clients = new Map();
async function make(call) {
  const options = { baseURL: call.url ?? baseURL, apiKey: 'unused', maxRetries: call.retries ?? 0, timeout: (call.timeout ?? 30) * 1000 };
  const key = JSON.stringify(options);
  if (!clients.has(key)) clients.set(key, new OpenAI(options));
  const client = clients.get(key);
  if (call.do === 'many') return Promise.all(call.calls.map((params) => ask(client, { do: 'chat', params })));
  if (call.do === 'chat' || call.do === 'completion') return ask(client, call);
  try {
    return await other(client, call);
  } catch (error) {
    return { error: told(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await make(JSON.parse(line))));
}
