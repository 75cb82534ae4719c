# One command each; every target first puts in place what it needs (packaging/setup/).
#   make demo    the product with a built-in camera, on http://127.0.0.1:8080
#   make test    everything that has to hold before a change lands
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export OUTPOST_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/outpost
export CARGO_TARGET_DIR ?= $(OUTPOST_CACHE)/target
setup := packaging/setup

.PHONY: help demo test test-slow bench bench-executions bench-index bench-live bench-drain bench-library bench-page bench-pictures compare lint features deb docs setup setup-build setup-lint setup-test reference pictures clean-cache

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

demo: setup-build ## Run the daemon on a built-in clip, with its page; DEMO="--dir DIR --listen ADDR"
	cargo run --locked -- demo $(DEMO)

test: setup lint ## Formatting, lints, documentation, every test
	$(call run_tests,default,)

test-slow: export OUTPOST_CRASHES := 20
test-slow: export OUTPOST_KILLS := 500
test-slow: export OUTPOST_PHOTOS := 20000
test-slow: export OUTPOST_PHOTO_KILLS := 50
test-slow: export OUTPOST_EXECUTIONS := 10000
test-slow: export OUTPOST_EXECUTION_KILLS := 20
test-slow: export OUTPOST_EXECUTION_POWER_CUTS := 3
test-slow: export OUTPOST_OUTAGE_SECONDS := 120
test-slow: export OUTPOST_UNPLUGGED := 10
test-slow: export OUTPOST_POWER_CUTS := 50
test-slow: export OUTPOST_PHOTO_POWER_CUTS := 10
test-slow: export OUTPOST_DRIVE_CUTS := 50
test-slow: export OUTPOST_ALERTS := 10000
test-slow: export OUTPOST_API_EXAMPLES := 200
test-slow: export OUTPOST_TORN_WRITES := 2000
test-slow: export OUTPOST_SOAK_MINUTES ?= 60
test-slow: export OUTPOST_FUZZ_SECONDS ?= 60
test-slow: setup features ## More, and for longer: 500 kills, 50 while 20,000 photos come in, 50 power cuts, 10 while photos come in, outages of minutes, a minute of random input for each parser, a soak of OUTPOST_SOAK_MINUTES
	$(call run_tests,slow,--lib fuzz::)
	$(call run_tests,slow,--test it)

compare: setup ## Compare the public behaviour of two programs; OLD=PROGRAM, NEW=PROGRAM or what is built here, COMPARE="--runs N"
	cargo build --locked
	python3 tests/compare/behaviour.py "$(OLD)" "$(or $(NEW),$(CARGO_TARGET_DIR)/debug/outpost)" $(COMPARE)

bench: setup bench-index bench-drain bench-page bench-executions ## What four cameras cost, with and without the motion gate; BENCH="--cameras N --seconds S"
	cargo build --locked
	python3 tests/bench/cameras.py "$(CARGO_TARGET_DIR)/debug/outpost" $(BENCH)

bench-executions: setup-build ## Pictures that programs send: to the result, a second, and per core, beside a plain server; what cameras lose meanwhile; EXECUTIONS="--pictures N --seconds S"
	@$(setup)/python.sh bench-executions tests/bench/executions-requirements.txt
	cargo build --locked
	python3 tests/bench/executions.py "$(CARGO_TARGET_DIR)/debug/outpost" "$(OUTPOST_CACHE)/bench-executions/bin/python" $(EXECUTIONS)

bench-live: setup ## What viewers of live video cost; LIVE="--rounds N --seconds S"
	cargo build --locked
	python3 tests/bench/live.py "$(CARGO_TARGET_DIR)/debug/outpost" $(LIVE)

month := $(OUTPOST_CACHE)/bench-month-$(or $(OUTPOST_BENCH_EVENTS),1000000)

bench-page: setup ## What the page and the API cost on an index of a million events; OLD=PROGRAM beside NEW=PROGRAM or what is built here, PAGE="--rounds N", OUTPOST_BENCH_EVENTS=N
	cargo build --locked
	@: 'The index is made once; half of one is not used.'
	test -d "$(month)" || { rm -rf -- "$(month).new"; \
	  OUTPOST_BENCH_MONTH="$(month).new" cargo test --locked --lib -- --ignored --exact store::tests::month::an_index_of_a_month; \
	  mv "$(month).new" "$(month)"; }
	OUTPOST_NODE_MODULES="$(OUTPOST_CACHE)/node/node_modules" python3 tests/bench/page.py "$(month)/index" \
	  "$(or $(NEW),$(CARGO_TARGET_DIR)/debug/outpost)" $(OLD) $(PAGE)

bench-drain: setup ## What draining a backlog costs, beside rclone; RELEASE=1: as it ships; DRAIN="--small N --large N --large-mib M"
	@$(setup)/debian.sh rclone
	cargo build $(if $(RELEASE),--release) --locked
	python3 tests/bench/drain.py "$(CARGO_TARGET_DIR)/$(if $(RELEASE),release,debug)/outpost" "$(OUTPOST_CACHE)/venv/bin/weed" $(DRAIN)

bench-pictures: setup-build ## Photos per second into the library on one core, beside sharp and libvips; as it ships; PICTURES="--photos N --rounds N"
	@$(setup)/debian.sh libvips-tools python3-pil
	@$(setup)/node.sh sharp tests/bench/sharp
	cargo build --release --locked
	/usr/bin/python3 tests/bench/pictures.py "$(CARGO_TARGET_DIR)/release/outpost" --sharp "$(OUTPOST_CACHE)/sharp/node_modules" $(PICTURES)

bench-library: setup-build ## What searches of a library of a million photos cost; OUTPOST_BENCH_PHOTOS=N
	cargo test --locked --lib -- --ignored --nocapture --exact store::photo_search::tests::searches_of_a_large_library

bench-index: setup-build ## What an index of a million events costs, beside one of a thousand; OUTPOST_BENCH_EVENTS=N
	cargo test --locked --lib -- --ignored --nocapture --exact store::tests::size::a_large_index_beside_a_small_one

lint: setup-build setup-lint ## rustfmt, clippy and rustdoc, all without warnings; licences and sources of the dependencies
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --lib --document-private-items --locked
	cargo fetch --locked --quiet
	"$(OUTPOST_CACHE)/lint/bin/cargo-deny" --offline --locked --log-level error check licenses bans sources

features: setup-build ## Compile without each of the features that a small box can leave out
	for feature in "" age parquet v4l; do \
	  cargo clippy --locked --lib --bins --no-default-features --features "$$feature" -- -D warnings; \
	done

docs: setup-build ## Write docs/blocks.md and docs/compatibility.md again, from what blocks and tests say
	OUTPOST_UPDATE_DOCS=1 cargo test --locked --lib -- --exact block::schema::tests::the_page_of_the_blocks_is_what_they_say
	OUTPOST_UPDATE_DOCS=1 cargo test --locked --test it -- --exact compatibility::the_page_of_what_works_with_what_is_what_the_tests_show

deb: setup-build ## Build the Debian package; prints where it is
	@$(setup)/debian.sh deb
	cargo build --release --locked
	packaging/deb/build.sh "$(CARGO_TARGET_DIR)/release/outpost" "$(CARGO_TARGET_DIR)"

setup: setup-build setup-test ## Install what building and testing need

setup-build:
	@$(setup)/debian.sh build
	@$(setup)/rust.sh

setup-lint:
	@$(setup)/python.sh lint packaging/setup/lint-requirements.txt

setup-test:
	@$(setup)/debian.sh test
	@$(setup)/python.sh venv tests/servers/requirements.txt
	@: 'pip wants the opposite of what it asks for; without bytecode it is half as large'
	@PIP_NO_COMPILE=0 $(setup)/python.sh homeassistant tests/homeassistant/requirements.txt
	@$(setup)/python.sh lake tests/servers/lake-requirements.txt
	@$(setup)/python.sh api tests/servers/api-requirements.txt
	@$(setup)/python.sh inference tests/servers/inference-requirements.txt
	@$(setup)/node.sh node tests/browser
	@$(setup)/node.sh azurite tests/servers
	@$(setup)/rootfs.sh
	@$(setup)/vm.sh

pictures: setup ## Take the pictures of the page in docs/ again; FOLDER and ALL=ALL: every page elsewhere
	@$(setup)/debian.sh fonts-ipaexfont-gothic
	cargo build --locked
	OUTPOST_NODE_MODULES="$(OUTPOST_CACHE)/node/node_modules" node tests/browser/pictures.mjs "$(CARGO_TARGET_DIR)/debug/outpost" \
	  "$(or $(FOLDER),docs)" $(ALL)

reference: ## Make again what another runtime sees in the sample pictures: tests/reference/
	@$(setup)/python.sh reference tests/reference/requirements.txt
	$(OUTPOST_CACHE)/reference/bin/python tests/reference/make_reference.py

clean-cache: ## Forget compiled code and what was set up beside it
	rm -rf --one-file-system -- "$(CARGO_TARGET_DIR)" $(addprefix "$(OUTPOST_CACHE)/,$(addsuffix ",venv api homeassistant inference bench-executions reference node sharp azurite vm rootfs rootfs.state lint))

# nextest (profile $1) where it is installed, since it limits what runs at once and ends what hangs.
define run_tests
if cargo nextest --version >/dev/null 2>&1; then \
	  cargo nextest run --locked --profile $(1) $(2); \
	else \
	  cargo test --locked --lib --bins && cargo test --locked $(or $(2),--test '*') -- --test-threads=1; \
	fi
endef
