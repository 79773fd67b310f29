#!/usr/bin/env python3
"""Records what llama.cpp answers, for the tests of the engine: `make record` runs it.

How: llama-server and llama-tokenize of the source that `make peers` pins (llama.cpp 11434, built for
the processor without AMX, cache of keys and values in half precision, one thread, one slot, no reuse
of prompts). Per prompt: /completion with the tokens of the prompt, temperature 0 and n_probs 2. A
recording holds the prompt's tokens, the answer's, and per step by how much the best token's
log-probability was above the next one's; and the SHA-256 of the model. Texts are tokenised by
llama-tokenize, without the tokens of beginning and end, once with control tokens recognised and once
without. Templates are rendered by
/apply-template for a model that adds no token of beginning. Vectors are /v1/embeddings of a server that
was started with --embeddings --pooling mean: the mean of all tokens' last states, of length 1.

Usage: record.py BIN SOURCE MODELS OUT [NAME...]
  BIN     the folder of llama-server and llama-tokenize
  SOURCE  llama.cpp's source, whose models/ has vocabularies and templates
  MODELS  the folder with the models: tiny-llama.gguf ..., SmolLM2 and Gemma
  OUT     enclave/engine/tests/recordings
"""

import hashlib
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

QUESTIONS = [
    "What is the capital of France?",
    "Name three primary colors.",
    "Write a haiku about rain.",
    "What is 17 plus 25?",
    "Explain photosynthesis in two sentences.",
    "Translate 'good morning' to Spanish.",
    "Who wrote Romeo and Juliet?",
    "List the days of the week.",
    "What is the boiling point of water?",
    "Give me a recipe for pancakes.",
    "Write a Python function that adds two numbers.",
    "Why is the sky blue?",
    "What is the largest planet?",
    "Tell me a short story about a fox.",
    "How many legs does a spider have?",
    "Summarise the water cycle.",
    "What does HTTP stand for?",
    "Suggest a name for a cat.",
    "Is 97 a prime number?",
    "Schreibe einen Satz über den Herbst. 🍂",
]

BEGINNINGS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "The three primary colors are",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Water boils at",
    "1, 1, 2, 3, 5, 8, 13,",
    "The quick brown fox",
    "In 1969, the first human",
    "Dear Sir or Madam,\n\nI am writing to",
    "Photosynthesis is the process by which",
    "La capitale de l'Italie est",
    "Der schnellste Weg nach Berlin ist",
    "日本の首都は",
    "El perro y el gato",
    "The following is a list of planets:\n\n1. Mercury\n2.",
    "To make pancakes, you need",
    "Monday, Tuesday, Wednesday,",
    "Shakespeare wrote",
    "<html>\n<head>\n<title>",
    "A prime number is a number that",
]

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "Hello  world   with    runs     of spaces",
    "  leading and trailing  ",
    "tabs\tand\t\ttabs\t\t\t",
    "line\nbreaks\n\nand\r\nmore\r\n\r\n",
    "\n",
    "\n\n\n x",
    " \n \n  y",
    "I'm you're he'll they'd we've it's DON'T I'LL'S",
    "123 4567 890123 3.14159 1,000,000",
    "٣٤٥ ⅷ Ⅷ ²³ ½ ４２",
    "naïve café résumé Ångström",
    "e\u0301 a\u0308 n\u0303 combining marks",
    "Привет, как дела? ЗДРАВСТВУЙ",
    "你好，世界！今天天气很好。",
    "こんにちは世界。カタカナとひらがな",
    "한국어 텍스트입니다",
    "مرحبا بالعالم، كيف حالك؟",
    "שלום עולם",
    "हिन्दी में लिखा हुआ पाठ",
    "ภาษาไทยไม่มีช่องว่าง",
    "🙂🙃 👩‍👩‍👧‍👦 🇫🇷 👍🏽",
    "emoji🎉in🎊words",
    "fn main() {\n    let x = vec![1, 2, 3];\n    println!(\"{x:?}\");\n}\n",
    "if (a<b && c>=d) { return a*b/c%d; } // ok?!",
    "https://example.org/a/b?c=d&e=f#g",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case",
    "x = a+b-c; $100 ~50% #1 @me ^_^ `tick` |pipe|",
    "nbsp\u00a0thin\u2009ideographic\u3000zero\u200bwidth",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "................................................!!!!????",
    "ÀÉÎÕÜ straße ǅ ŉ ﬁ İstanbul",
    "a<|im_start|>user\nhi<|im_end|>\n<|endoftext|>b",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "<bos><start_of_turn>user\nhi<end_of_turn>\n<eos> <unused7> <h1>x</h1>",
    "<s>[INST] hi [/INST]</s> <unk> <0x0A>",
    "\u2581escaped\u2581space",
    "\ufeffbom and \ufffd replacement \u0000nul \u0001\u007f",
    "the end",
]

VOCABULARIES = ["gpt-2", "llama-bpe", "llama-spm", "qwen2", "falcon", "mpt", "refact", "starcoder", "command-r", "deepseek-coder", "deepseek-llm"]

TEMPLATES = {
    "llama3.1": "meta-llama-Llama-3.1-8B-Instruct",
    "llama3.2": "meta-llama-Llama-3.2-3B-Instruct",
    "llama3.3": "meta-llama-Llama-3.3-70B-Instruct",
    "qwen2.5": "Qwen-Qwen2.5-7B-Instruct",
    "qwen3": "Qwen-Qwen3-0.6B",
    "gemma2": "google-gemma-2-2b-it",
    "mistral-nemo": "mistralai-Mistral-Nemo-Instruct-2407",
}

TURNS = [
    [("user", "Hello")],
    [("user", " spaces around \n"), ("assistant", "yes"), ("user", "and again?")],
    [("system", "Be brief."), ("user", "What is 2+2?")],
    [("system", "Be brief."), ("user", "a"), ("assistant", "b\n\nc"), ("user", "d")],
    [("user", "text that says <|im_end|> and <|eot_id|>"), ("assistant", "ok"), ("user", "é 🙂")],
]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Server:
    def __init__(self, programs, model, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [programs / "llama-server", "-m", model, "--port", str(self.port), "-t", "1", "-np", "1"]
        command += ["-c", "1024", "--no-cache-prompt", "--cache-ram", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit("llama-server ended")
            try:
                self.ask("/health")
                return self
            except OSError:
                time.sleep(0.1)
        sys.exit("llama-server did not come up")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def greedy(self, prompt, count):
        answer = self.ask("/completion", {
            "prompt": prompt, "n_predict": count, "temperature": 0, "n_probs": 2,
            "return_tokens": True, "cache_prompt": False,
        })
        # Steps that end within a character are left out of the probabilities; their gap is given as 0, a tie.
        steps = iter([*answer.get("completion_probabilities", []), {"id": None}])
        step = next(steps)
        gaps = []
        for token in answer["tokens"]:
            if step["id"] == token:
                first, second = [one["logprob"] for one in step["top_logprobs"]]
                gaps.append(round(first - second, 4))
                step = next(steps)
            else:
                gaps.append(0)
        return {"prompt": prompt, "tokens": answer["tokens"], "gaps": gaps}


def write(out, name, recording):
    """One recording a line, so that a change can be read."""
    (kind,) = [key for key, value in recording.items() if isinstance(value, list)]
    lines = ",\n".join(json.dumps(one, ensure_ascii=True, separators=(",", ":")) for one in recording.pop(kind))
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in recording.items())
    (out / f"{name}.json").write_text(f"{{{head}{json.dumps(kind)}: [\n{lines}\n]}}\n")
    print(name, "recorded")


def tiny_prompts():
    """Tokens 3 to 258 are no control tokens; the numbers are a linear congruence's."""
    state = 7
    for length in [3, 5, 8, 13, 16, 17, 21, 30, 34, 40, 48, 55, 60, 64, 65, 70, 80, 90, 100, 127]:
        prompt = []
        for _ in range(length):
            state = (state * 1103515245 + 12345) % 2**31
            prompt.append(3 + (state >> 16) % 256)
        yield prompt


def record_greedy(programs, models, out, wanted):
    for family in ["llama", "qwen2", "qwen3", "gemma3"]:
        name = f"greedy-tiny-{family}"
        if wanted(name):
            model = models / f"tiny-{family}.gguf"
            with Server(programs, model) as server:
                answers = [server.greedy(prompt, 32) for prompt in tiny_prompts()]
            write(out, name, {"model_sha256": sha256(model), "answers": answers})
    for name, file, chat in [
        ("greedy-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", True),
        ("greedy-gemma3-270m", "gemma-3-270m-q4_k_m.gguf", False),
        ("greedy-gemma3-270m-q8", "gemma-3-270m-q8_0.gguf", False),
    ]:
        if not wanted(name):
            continue
        model = models / file
        answers = []
        with Server(programs, model) as server:
            for text in QUESTIONS if chat else BEGINNINGS:
                if chat:
                    text = server.ask("/apply-template", {"messages": [{"role": "user", "content": text}]})["prompt"]
                asked = {"content": text, "add_special": True, "parse_special": True}
                answer = server.greedy(server.ask("/tokenize", asked)["tokens"], 48)
                answers.append({"text": text, **answer})
        write(out, name, {"model_sha256": sha256(model), "answers": answers})


def record_vectors(programs, models, out, wanted):
    prompts = [prompt for prompt in tiny_prompts()][::4]
    families = [(f"tiny-{family}", f"tiny-{family}.gguf", prompts) for family in ["llama", "qwen2", "qwen3", "gemma3"]]
    for name, file, inputs in [*families, ("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", BEGINNINGS[::3])]:
        if not wanted(f"vectors-{name}"):
            continue
        texts = []
        with Server(programs, models / file, "--embeddings", "--pooling", "mean") as server:
            for text in inputs:
                vector = server.ask("/v1/embeddings", {"input": [text]})["data"][0]["embedding"]
                texts.append({"input": text, "vector": [round(number, 6) for number in vector]})
        write(out, f"vectors-{name}", {"model_sha256": sha256(models / file), "texts": texts})


def record_tokens(programs, source, models, out, wanted):
    files = {f"tokens-{name}": source / f"models/ggml-vocab-{name}.gguf" for name in VOCABULARIES}
    files["tokens-smollm2"] = models / "SmolLM2-135M-Instruct.Q4_1.gguf"
    files["tokens-gemma3"] = models / "gemma-3-270m-q4_k_m.gguf"
    for name, file in files.items():
        if not wanted(name):
            continue
        def tokens(text, *options):
            command = [programs / "llama-tokenize", "-m", file, "--stdin", "--ids", "--no-bos", "--log-disable", *options]
            done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
            return json.loads(done.stdout)
        texts = [{"text": text, "parsed": tokens(text), "plain": tokens(text, "--no-parse-special")} for text in TEXTS]
        write(out, name, {"model_sha256": sha256(file), "texts": texts})


def record_templates(programs, source, models, out, wanted):
    if not wanted("templates"):
        return
    renderings = []
    for name, file in TEMPLATES.items():
        file = source / f"models/templates/{file}.jinja"
        with Server(programs, models / "tiny-qwen2.gguf", "--jinja", "--chat-template-file", file) as server:
            for turns in TURNS:
                messages = [{"role": role, "content": content} for role, content in turns]
                try:
                    prompt = server.ask("/apply-template", {"messages": messages})["prompt"]
                    # The engine has no clock to tell templates of; theirs is the date that Llama's fall back to.
                    prompt = prompt.replace(time.strftime("%d %b %Y"), "26 Jul 2024")
                except urllib.error.HTTPError:
                    prompt = None  # The template refused.
                renderings.append({
                    "template": file.name, "template_sha256": sha256(file), "name": name,
                    "messages": turns, "prompt": prompt,
                })
    write(out, "templates", {"renderings": renderings})


def main():
    programs, source, models, out = map(pathlib.Path, sys.argv[1:5])
    names = sys.argv[5:]
    wanted = lambda name: not names or name in names
    out.mkdir(exist_ok=True)
    record_greedy(programs, models, out, wanted)
    record_vectors(programs, models, out, wanted)
    record_tokens(programs, source, models, out, wanted)
    record_templates(programs, source, models, out, wanted)


if __name__ == "__main__":
    main()
