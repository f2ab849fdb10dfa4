# Everything a person types. `make` alone lists it. The steps are in scripts/.
SHELL := /bin/bash
PREFIX ?= /usr/local
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test build install bench soak fmt lint clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## play the Yao Bank tutorial, with what it needs installed (ARGS=--keep leaves it running)
	@scripts/demo.sh $(ARGS)

test: ## check formatting, lint, run all tests, with what they need installed
	@scripts/test.sh

build: ## build the programs for use
	$(CARGO) build --locked --release --bins -p tortie -p tortie-authz

install: build ## install tortie and tortie-authz below PREFIX (/usr/local)
	install -D -m 755 -t "$(DESTDIR)$(PREFIX)/bin" "$(TARGET)/release/tortie" "$(TARGET)/release/tortie-authz"

bench: ## run the benchmarks of docs/performance.md (BENCH='--bench NAME' for one)
	$(CARGO) bench --locked --workspace $(or $(BENCH),--bench '*')

soak: ## run all tests with many random cases for a while (MINUTES=60)
	@scripts/soak.sh $(MINUTES)

fmt: ## format the sources
	$(CARGO) fmt --all

lint: ## run clippy, and shellcheck if it is there
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; fi

clean: ## remove what was built; the downloaded Envoy in .cache stays
	$(CARGO) clean
