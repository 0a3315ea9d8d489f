# Every target sets up what it needs by itself (scripts/setup), once.
# ARGS goes to the program behind a target:  make test ARGS='-k address -x'   make bench ARGS='--quick cpu'

PYTHON ?= python3
VENV   := .venv/bin
ARGS   ?=
export PYTHON

# Tests of processes wait more than they compute, so two at a time take little more than half as long as one after the
# other. A file's tests stay together, for its fixtures. A worker that dies has its test reported, and ends the run.
# One at a time, as a debugger needs it:  make test WORKERS=0 ARGS=--pdb
# What test-all adds goes one at a time: storms and faults under load are about what a client notices, and two of them
# side by side would notice each other. (5 is pytest's "no tests": ARGS may choose among those that come then.)
WORKERS ?= 2
ABREAST := -n $(WORKERS) --dist loadfile --max-worker-restart 0

.PHONY: help demo test test-all soak bench install-systemd lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## start an upstream, a proxy and clients, upgrade the proxy live five times, show that nothing was lost
	@scripts/setup run
	@$(VENV)/python examples/demo.py $(ARGS)

test: ## lint, types, tests
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	$(VENV)/python -m pytest $(ABREAST) -m 'not all and not soak' $(ARGS)

test-all: ## the same with every test: storms, every fault point, real peers (which must be there)
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	HOTSWAP_REQUIRE_PEERS=1 $(VENV)/python -m pytest $(ABREAST) -m 'not all and not soak' $(ARGS) || [ $$? -eq 5 ]
	HOTSWAP_REQUIRE_PEERS=1 $(VENV)/python -m pytest -m 'all and not soak' $(ARGS)

soak: ## the tests that take minutes
	@scripts/setup test
	HOTSWAP_REQUIRE_PEERS=1 $(VENV)/python -m pytest -m soak $(ARGS)

bench: ## measure against nginx, haproxy and Envoy; write docs/benchmarks.md
	@scripts/setup bench
	$(VENV)/python -m tests.bench $(ARGS)

DESTDIR ?=
install-systemd: ## as root: the units, their user and directories (DESTDIR=... for a package); see docs/systemd.md
	install -Dm644 -t '$(DESTDIR)/etc/systemd/system' systemd/*.service systemd/*.socket
	install -Dm644 systemd/sysusers.d/hotswap.conf '$(DESTDIR)/etc/sysusers.d/hotswap.conf'
	install -Dm644 systemd/tmpfiles.d/hotswap.conf '$(DESTDIR)/etc/tmpfiles.d/hotswap.conf'
	[ -n '$(DESTDIR)' ] || { systemd-sysusers && systemd-tmpfiles --create hotswap.conf && systemctl daemon-reload; }

lint: ## ruff and mypy --strict
	@scripts/setup run
	@$(MAKE) --no-print-directory check

.PHONY: check
check:
	$(VENV)/ruff check .
	$(VENV)/mypy

clean: ## remove what the targets made
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/bench/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
