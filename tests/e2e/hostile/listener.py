"""For each line of the input asks once through the unmodified openai package, and prints all that it let the caller see."""

import json
import sys

import openai

base_url, model, prompt = sys.argv[1:4]
client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0, timeout=30)
messages = [{"role": "user", "content": prompt}]


def stream(seen):
    events = client.chat.completions.create(
        model=model, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    for event in events:
        seen["usage"] = event.usage.completion_tokens if event.usage else seen["usage"]
        for choice in event.choices:
            seen["text"] += choice.delta.content or ""
            seen["finish"] = choice.finish_reason or seen["finish"]


def whole(seen):
    answer = client.chat.completions.create(model=model, messages=messages)
    seen["text"] = answer.choices[0].message.content
    seen["finish"] = answer.choices[0].finish_reason
    seen["usage"] = answer.usage.completion_tokens


for line in sys.stdin:
    seen = {"text": "", "finish": None, "usage": None, "error": None, "code": None}
    try:
        {"stream": stream, "whole": whole}[line.strip()](seen)
    except Exception as error:
        seen["error"] = type(error).__name__
        seen["code"] = getattr(error, "code", None)
    print(json.dumps(seen), flush=True)
