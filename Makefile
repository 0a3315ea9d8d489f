# Every target sets up what it needs by itself (scripts/setup), once.
# ARGS goes to the program behind a target:  make test ARGS='-k address -x'   make bench ARGS='--quick cpu'

PYTHON ?= python3
VENV   := .venv/bin
ARGS   ?=
export PYTHON

# Tests of processes wait more than they compute, so two at a time take little more than half as long as one after the
# other. A file's tests stay together, for its fixtures. A worker that dies has its test reported, and ends the run.
# One at a time, as a debugger needs it:  make test WORKERS=0 ARGS=--pdb
# Of what test-all adds storms go one at a time: two of them side by side would notice each other.
# (5 is pytest's "no tests": ARGS may choose among those that come elsewhere.)
WORKERS ?= 2
ABREAST := -n $(WORKERS) --dist loadfile --max-worker-restart 0

.PHONY: help demo test test-all soak bench wheel install-systemd lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## start an upstream, a proxy and clients, upgrade the proxy live five times, show that nothing was lost
	@scripts/setup run
	@$(VENV)/python examples/demo.py $(ARGS)

# The data plane runs compiled, and interpreted where it was not built: docs/compiled.md. Everything is tested
# compiled, and then the laws of the data plane interpreted; cuts at every single byte once are enough for that.
COMPILED    := env -u HOTSWAP_PLANE $(VENV)/python -m pytest --plane=compiled
# Properties are tried with fewer examples in `make test` than in test-all.
BRIEF       := --hypothesis-profile=brief
INTERPRETED := env HOTSWAP_PLANE=python $(VENV)/python -m pytest --plane=interpreted

test: ## lint, types, tests
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	$(COMPILED) $(BRIEF) $(ABREAST) -m 'not all and not soak' $(ARGS)
	$(INTERPRETED) $(BRIEF) --part=laws $(ABREAST) -m 'not all and not soak' -k 'not every_single_cut' $(ARGS) || [ $$? -eq 5 ]

test-all: ## the same with every test: storms, every fault point, real peers (which must be there)
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	HOTSWAP_REQUIRE_PEERS=1 $(COMPILED) $(ABREAST) -m 'not all and not soak' $(ARGS) || [ $$? -eq 5 ]
	HOTSWAP_REQUIRE_PEERS=1 $(INTERPRETED) --part=plane $(ABREAST) -m 'not all and not soak' $(ARGS) || [ $$? -eq 5 ]
	HOTSWAP_REQUIRE_PEERS=1 $(COMPILED) --part=calm $(ABREAST) -m 'all and not soak' $(ARGS) || [ $$? -eq 5 ]
	HOTSWAP_REQUIRE_PEERS=1 $(COMPILED) --part=storms -m 'all and not soak' $(ARGS) || [ $$? -eq 5 ]

soak: ## the tests that take minutes
	@scripts/setup test
	HOTSWAP_REQUIRE_PEERS=1 $(COMPILED) -m soak $(ARGS)

bench: ## measure against nginx, haproxy and Envoy; write docs/benchmarks.md
	@scripts/setup bench
	$(VENV)/python -m tests.bench $(ARGS)

wheel: ## wheels in dist/ for every supported CPython that is found; ARGS='3.12' for some
	@scripts/wheels $(ARGS)

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
	rm -rf .venv build dist proxy/_stamps.py *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/bench/build
	find hotswap proxy shm_metrics vm_agent -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
