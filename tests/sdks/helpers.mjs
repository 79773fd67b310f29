// What the openai package builds on top of the API: zod's types as schemas, functions as tools, events of a stream.

export function helpers(require) {
  const z = require('zod');
  const { zodFunction, zodResponseFormat } = require('openai/helpers/zod');

  const Person = z.object({
    name: z.string().min(1).max(8),
    age: z.number().int().min(0).max(150),
    mood: z.enum(['glad', 'sad']),
    born: z.number().int().min(1900).max(2026).nullable(),
    friends: z.array(z.object({ nick: z.string().regex(/^[a-c]{2}$/) })).max(2),
  });
  const GetSky = z.object({ city: z.string().max(6), days: z.number().int().min(1).max(9) });

  // The functions, which say what `results` says that they do and remember what they were asked.
  const tools = (results, made) => [
    zodFunction({
      name: 'get_sky',
      description: 'Tells what the sky is like.',
      parameters: GetSky,
      function: (given) => {
        made.push(['get_sky', given]);
        return results.get_sky;
      },
    }),
    zodFunction({
      name: 'off',
      description: 'Turns everything off.',
      parameters: z.object({}),
      function: (given) => {
        made.push(['off', given]);
        return results.off;
      },
    }),
  ];

  const called = (calls) =>
    (calls ?? []).map((call) => ({
      id: call.id,
      name: call.function.name,
      arguments: call.function.arguments,
      parsed: call.function.parsed_arguments ?? null,
    }));

  function told(completion) {
    const [choice] = completion.choices;
    const { usage } = completion;
    return {
      id: completion.id,
      text: choice.message.content,
      finish: choice.finish_reason,
      calls: called(choice.message.tool_calls),
      parsed: choice.message.parsed ?? null,
      choices: completion.choices.length,
      usage: usage ? [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens] : null,
      fingerprint: completion.system_fingerprint,
    };
  }

  function given(call, made = []) {
    const params = { ...call.params };
    if (call.tools) params.tools = tools(call.results ?? {}, made);
    if (call.person) params.response_format = zodResponseFormat(Person, 'person');
    return params;
  }

  const parse = async (client, call) => told(await client.chat.completions.parse(given(call)));

  // All events of a stream, counted by type, and the answer that they add up to.
  async function stream(client, call) {
    const kinds = {};
    const pieces = {};
    const done = [];
    let texts = '';
    const events = client.chat.completions.stream(given(call));
    const count = (kind) => (kinds[kind] = (kinds[kind] ?? 0) + 1);
    events.on('chunk', () => count('chunk'));
    events.on('content.delta', ({ delta }) => {
      count('content.delta');
      texts += delta;
    });
    events.on('content.done', () => count('content.done'));
    events.on('logprobs.content.delta', () => count('logprobs.content.delta'));
    events.on('tool_calls.function.arguments.delta', ({ index, arguments_delta }) => {
      count('tool_calls.function.arguments.delta');
      (pieces[index] ??= []).push(arguments_delta);
    });
    events.on('tool_calls.function.arguments.done', ({ index, name, arguments: all }) => {
      count('tool_calls.function.arguments.done');
      done.push([index, name, all]);
    });
    const final = await events.finalChatCompletion();
    return { ...told(final), kinds, deltas: texts, pieces, done };
  }

  // `runTools`: the package makes the calls and tells their results, until the answer is text.
  async function run(client, call) {
    const made = [];
    const runner = client.chat.completions.runTools(given(call, made));
    const counts = { functionToolCall: 0, functionToolCallResult: 0, content: 0 };
    for (const name of Object.keys(counts)) runner.on(name, () => (counts[name] += 1));
    await runner.done();
    const all = runner.allChatCompletions();
    return { ...told(all[all.length - 1]), made, counts, messages: runner.messages.map(({ role }) => role) };
  }

  return { parse, 'helper-stream': stream, run };
}
