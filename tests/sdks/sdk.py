"""Makes calls with the unmodified openai package: one of JSON a line comes in, and what the caller saw of it goes out."""

import asyncio
import json
import sys

import openai
from helpers import HELPERS

BASE_URL = sys.argv[1]


def told(error):
    """What an error tells whoever catches it."""
    response = getattr(error, "response", None)
    seen = {"class": type(error).__name__, "status": getattr(error, "status_code", None)}
    seen |= {name: getattr(error, name, None) for name in ("code", "param", "type")}
    seen["retry_after"] = response.headers.get("retry-after") if response is not None else None
    return seen


def blank():
    return {"id": None, "text": "", "finish": None, "usage": None, "logprobs": [], "events": 0, "error": None}


def counted(usage):
    return usage and [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens]


def take(seen, answer):
    """Adds an answer, or an event of one, to what was seen."""
    seen["id"] = answer.id
    seen["usage"] = counted(answer.usage) or seen["usage"]
    for choice in answer.choices:
        said = getattr(choice, "delta", None) or getattr(choice, "message", None)
        text = (said.content if said else getattr(choice, "text", None)) or ""
        seen["text"] += text
        seen["events"] += bool(text)
        seen["finish"] = choice.finish_reason or seen["finish"]
        logprobs = choice.logprobs and choice.logprobs.model_dump()
        seen["logprobs"] += [logprobs] if logprobs else []


def headers(response):
    names = ("x-veritee-node", "x-veritee-verdict", "content-type", "cache-control")
    return {name: response.headers.get(name) for name in names}


def made(client, kind):
    return client.completions if kind == "completion" else client.chat.completions


def ask(client, call):
    """A chat or a completion, streamed or not; `take` leaves a stream after so many events with text."""
    seen, resource = blank(), made(client, call["do"])
    try:
        answer = resource.create(**call["params"])
        if not call["params"].get("stream"):
            take(seen, answer)
            return seen
        for event in answer:
            take(seen, event)
            if seen["events"] == call.get("take"):
                answer.close()
                break
    except Exception as error:
        seen["error"] = told(error)
    return seen


async def ask_async(client, params):
    seen = blank()
    try:
        answer = await client.chat.completions.create(**params)
        if not params.get("stream"):
            take(seen, answer)
            return seen
        async for event in answer:
            take(seen, event)
    except Exception as error:
        seen["error"] = told(error)
    return seen


async def many(options, calls):
    async with openai.AsyncOpenAI(**options) as client:
        return await asyncio.gather(*(ask_async(client, params) for params in calls))


def raw(client, call):
    """The response itself, and what it parses to."""
    response = client.chat.completions.with_raw_response.create(**call["params"])
    seen = blank()
    take(seen, response.parse())
    return seen | {"headers": headers(response), "status": response.status_code}


def lines(client, call):
    """The response as it arrives, line by line."""
    with client.chat.completions.with_streaming_response.create(**call["params"]) as response:
        read = [line for line in response.iter_lines() if line]
        return {"headers": headers(response), "status": response.status_code, "lines": read}


def embeddings(client, call):
    """Vectors in their order. Unless told otherwise the package asks for base64, and makes numbers of it."""
    answer = client.embeddings.create(**call["params"])
    usage = answer.usage
    return {
        "vectors": [one.embedding for one in answer.data],
        "order": [one.index for one in answer.data],
        "model": answer.model,
        "usage": [usage.prompt_tokens, usage.total_tokens],
    }


def other(client, call):
    match call["do"]:
        case "raw":
            return raw(client, call)
        case "lines":
            return lines(client, call)
        case "models":
            return [model.id for model in client.models.list()]
        case "model":
            return client.models.retrieve(call["name"]).id
        case "embedding":
            return embeddings(client, call)
        case "get":
            return client.get(call["path"], cast_to=object)
        case helper:
            return HELPERS[helper](client, call)


def make(call):
    options = {"base_url": call.get("url", BASE_URL), "api_key": "unused"}
    options |= {"max_retries": call.get("retries", 0), "timeout": call.get("timeout", 30)}
    if call["do"] == "many":
        return asyncio.run(many(options, call["calls"]))
    client = clients.setdefault(str(options), openai.OpenAI(**options))
    if call["do"] in ("chat", "completion"):
        return ask(client, call)
    try:
        return other(client, call)
    except Exception as error:
        return {"error": told(error)}


clients = {}
for line in sys.stdin:
    print(json.dumps(make(json.loads(line))), flush=True)
