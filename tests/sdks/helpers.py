"""What the openai package builds on top of the API: classes as schemas, functions as tools, events of a stream."""

import enum
from typing import List, Optional

import openai
from pydantic import BaseModel, Field


class Mood(str, enum.Enum):
    glad = "glad"
    sad = "sad"


class Friend(BaseModel):
    nick: str = Field(pattern="^[a-c]{2}$")


class Person(BaseModel):
    name: str = Field(min_length=1, max_length=8)
    age: int = Field(ge=0, le=150)
    mood: Mood
    born: Optional[int] = Field(description="A year", ge=1900, le=2026)
    friends: List[Friend] = Field(max_length=2)


class GetSky(BaseModel):
    """Tells what the sky is like."""

    city: str = Field(max_length=6)
    days: int = Field(ge=1, le=9)


class Off(BaseModel):
    """Turns everything off."""


TOOLS = [openai.pydantic_function_tool(GetSky, name="get_sky"), openai.pydantic_function_tool(Off, name="off")]


def called(calls):
    """The calls of a message, with what the package made of their arguments."""
    return [
        {
            "id": call.id,
            "name": call.function.name,
            "arguments": call.function.arguments,
            "parsed": [type(call.function.parsed_arguments).__name__, call.function.parsed_arguments.model_dump()]
            if call.function.parsed_arguments is not None
            else None,
        }
        for call in calls or []
    ]


def told(completion):
    choice = completion.choices[0]
    parsed = getattr(choice.message, "parsed", None)
    usage = completion.usage
    return {
        "id": completion.id,
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "calls": called(choice.message.tool_calls),
        "parsed": parsed and [type(parsed).__name__, parsed.model_dump(mode="json")],
        "choices": len(completion.choices),
        "usage": usage and [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens],
        "fingerprint": completion.system_fingerprint,
    }


def given(call):
    params = dict(call["params"])
    params |= {"tools": TOOLS} if call.get("tools") else {}
    return params | ({"response_format": Person} if call.get("person") else {})


def parse(client, call):
    return told(client.chat.completions.parse(**given(call)))


def stream(client, call):
    """All events of a stream, counted by type, and the answer that they add up to."""
    kinds, texts, pieces, done = {}, "", {}, []
    with client.chat.completions.stream(**given(call)) as events:
        for event in events:
            kinds[event.type] = kinds.get(event.type, 0) + 1
            if event.type == "content.delta":
                texts += event.delta
            elif event.type == "tool_calls.function.arguments.delta":
                pieces.setdefault(str(event.index), []).append(event.arguments_delta)
                assert event.arguments == "".join(pieces[str(event.index)])
            elif event.type == "tool_calls.function.arguments.done":
                done.append([event.index, event.name, event.arguments])
        final = events.get_final_completion()
    return told(final) | {"kinds": kinds, "deltas": texts, "pieces": pieces, "done": done}


def run(client, call):
    """The usual loop: calls are made, their results told, until the answer is text. This package has no helper for it."""
    messages, made, results = list(call["params"]["messages"]), [], call["results"]
    params = given(call)
    while True:
        answer = client.chat.completions.parse(**(params | {"messages": messages}))
        message = answer.choices[0].message
        if not message.tool_calls:
            return told(answer) | {"made": made}
        messages.append(message)
        for one in message.tool_calls:
            made.append([one.function.name, one.function.parsed_arguments.model_dump()])
            messages.append({"role": "tool", "tool_call_id": one.id, "content": results[one.function.name]})


HELPERS = {"parse": parse, "helper-stream": stream, "run": run}
