"""Asks through the unmodified openai package and prints, as JSON, all that it let the caller see."""

import json
import sys

import openai

base_url, model, prompt, retries = sys.argv[1:5]
client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=int(retries), timeout=30)
messages = [{"role": "user", "content": prompt}]


def stream():
    seen = {"text": "", "finish": None, "usage": None, "error": None}
    try:
        events = client.chat.completions.create(
            model=model, messages=messages, stream=True, stream_options={"include_usage": True}
        )
        for event in events:
            seen["usage"] = event.usage.completion_tokens if event.usage else seen["usage"]
            for choice in event.choices:
                seen["text"] += choice.delta.content or ""
                seen["finish"] = choice.finish_reason or seen["finish"]
    except Exception as error:
        seen["error"] = type(error).__name__
    return seen


def whole():
    seen = {"text": "", "finish": None, "usage": None, "error": None}
    try:
        answer = client.chat.completions.create(model=model, messages=messages)
        seen["text"] = answer.choices[0].message.content
        seen["finish"] = answer.choices[0].finish_reason
        seen["usage"] = answer.usage.completion_tokens
    except Exception as error:
        seen["error"] = type(error).__name__
    return seen


def refused():
    try:
        client.chat.completions.create(model="no-such-model", messages=messages)
        return None
    except openai.APIStatusError as error:
        return [error.status_code, error.code]


def models():
    try:
        return [model.id for model in client.models.list()]
    except Exception as error:
        return type(error).__name__


print(json.dumps({"models": models(), "stream": stream(), "whole": whole(), "refused": refused()}))
