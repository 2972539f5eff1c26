# A thin front to Meson and Ninja. `make help` lists the targets.
#
#   BUILD=DIR     where the release build goes (build)
#   SETUP=no      do not install packages; for systems without Debian's names
#   ERP=tryton    `make demo` against that system in place of the sandbox
#   ARGS="..."    passed on by run-like targets (demo, bench, test)

BUILD ?= build
SETUP ?= yes
PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
SETUP_CMD := PENSTOCK_SETUP=$(SETUP) sh scripts/setup.sh
NINJA := ninja
FUZZ_SECONDS ?= 60
SEEDS ?= 1000
SEED ?= 1

.DEFAULT_GOAL := all
.PHONY: all demo test unit bench asan tsan fuzz sim lint format install-deps clean help

all: ## build the program, build/penstock, its simulator and its judge
	@$(SETUP_CMD) build
	@sh scripts/build.sh $(BUILD) penstock penstock-sim penstock-oracle

demo: all ## build, then play a retailer's day: shops, a slow ERP, an outage, a crash
	@$(if $(filter tryton,$(ERP)),$(SETUP_CMD) peers)
	@$(BUILD)/penstock demo $(if $(ERP),--erp $(ERP)) $(ARGS)

test: ## install, build, and run every test; ends with "N passed, N failed"
	@$(SETUP_CMD) build test peers
	@$(PYTHON) scripts/run_tests.py $(ARGS)

unit: ## the unit tests alone, on the release build (seconds)
	@$(SETUP_CMD) build test
	@sh scripts/build.sh $(BUILD)
	@meson test -C $(BUILD) --no-rebuild --print-errorlogs --suite unit

bench: ## measure against nginx on this machine; writes docs/performance.md
	@$(SETUP_CMD) build bench
	@sh scripts/build.sh $(BUILD) penstock
	@$(PYTHON) bench/run.py --penstock $(BUILD)/penstock $(ARGS)

asan: ## build with address and undefined-behaviour sanitizers: build-asan/
	@$(SETUP_CMD) build test
	@sh scripts/build.sh build-asan

tsan: ## build with the thread sanitizer: build-tsan/
	@$(SETUP_CMD) build test
	@sh scripts/build.sh build-tsan

fuzz: ## search for inputs that break a parser, FUZZ_SECONDS for each target
	@$(SETUP_CMD) build test fuzz
	@sh scripts/build.sh build-fuzz fuzzers
	@$(PYTHON) scripts/fuzz.py --build build-fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

sim: ## simulate SEEDS=n seeds from SEED on; failures with the command that repeats them
	@$(SETUP_CMD) build
	@sh scripts/build.sh $(BUILD) penstock-sim
	@$(BUILD)/penstock-sim --seeds $(SEED)..$$(($(SEED) + $(SEEDS) - 1)) $(ARGS)

lint: ## layer check, tidy check, layout of changed files
	@$(PYTHON) tests/lint/layers.py
	@$(PYTHON) tests/lint/tidy.py
	@sh scripts/format.sh --check

format: ## lay out the changed C files (ALL=1: every file) with clang-format
	@$(SETUP_CMD) format
	@sh scripts/format.sh $(if $(ALL),--all)

install-deps: ## install every package that any target needs
	@$(SETUP_CMD) build test peers bench fuzz format

clean: ## remove everything that was built
	@for peer in tryton vendure; do [ ! -d build-peers/$$peer ] || bash peers/$$peer/peer.sh reset; done
	rm -rf build-peers build build-asan build-tsan build-fuzz build-planted

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)
