# A clone on Debian (make, git and python3 are enough) -> the demo, the tests, the checks. `make` alone lists them.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Debian starts it when it installs it. The tests bring their own; a machine that has them already keeps them.
SERVICES := prometheus.service prometheus-alertmanager.service prometheus-node-exporter.service
# Whose QEMU `make test-qemu` takes: not that of this machine, with which `make test` has run.
RELEASE ?= $(shell . /etc/os-release; [ "$$VERSION_CODENAME" = trixie ] && echo bookworm || echo trixie)
TESTS ?= tests/real
# Which Debian `make deb` makes a package for.
DEBIAN ?= bookworm
SBOM ?= dist/sbom.cdx.json
# What makes a Debian package: dpkg-shlibdeps, and the library that it is to find a package for.
TO_BUILD := dpkg-dev libstdc++6
# Where systemd is tried out, as root only, for nobody else can boot it.
LIVE := $(if $(filter 0,$(shell id -u)),.live/bookworm .live/trixie)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
comma := ,

.PHONY: help run test test-qemu test-bare bench bench-smoke packages build-packages check format golden pictures contract docs lock dist deb sbom clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.run ## the demo: two VMs, the exporter, and its page; ARGS="--web.listen-address=:9177"
	$(BIN)/qmp-exporter demo $(ARGS)

test: packages .venv/.dev $(LIVE) ## all tests, in three processes; ARGS="-k name" for some of them
	$(BIN)/pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder $(ARGS)

test-qemu: packages .venv/.dev .qemu/$(RELEASE) ## tests/real with the QEMU of another Debian, as root; RELEASE=testing
	PATH="$(CURDIR)/.qemu/$(RELEASE)/bin:$$PATH" $(BIN)/pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder $(TESTS) $(ARGS)

test-bare: .bare/$(RELEASE) ## both README commands in a bare Debian, as root; RELEASE=bookworm or trixie
	sh tests/bare.sh $(RELEASE)

bench: .venv/.dev ## measure speed, size and cost again into tests/bench/README.md; ARGS="intake" for a part; 10 minutes
	PYTHONPATH=tests:tests/daemon:tests/real $(BIN)/python -m tests.bench $(ARGS)

bench-smoke: .venv/.dev ## a little of each benchmark, to see that it works; its numbers mean nothing
	PYTHONPATH=tests:tests/daemon:tests/real $(BIN)/python -m tests.bench --smoke $(ARGS)

check: .venv/.dev ## format, lint and types, as CI wants them
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.dev ## make format and imports what check wants
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

golden: .venv/.dev ## write the golden pages again; look at the difference before you commit it
	UPDATE_GOLDEN=1 $(BIN)/pytest tests/traces/test_golden.py

pictures: .venv/.dev packages ## the pictures of docs/; look at them before you commit them
	PYTHONPATH=tests:tests/daemon:tests/real:tests/browser $(BIN)/python tests/browser/pictures.py

contract: .venv/.run ## tests/catalog/contract.txt: the metrics of a release, at a release
	$(BIN)/python -c 'from qmp_exporter.catalog.contract import contract; print(contract(), end="")' \
	  > tests/catalog/contract.txt

docs: .venv/.dev ## METRICS.md, alert rules, runbooks and dashboards from the catalog, schema and reference of the configuration from its models
	$(BIN)/qmp-exporter metrics > METRICS.md.new && mv METRICS.md.new METRICS.md
	$(BIN)/qmp-exporter rules > deploy/prometheus/rules.yml.new && mv deploy/prometheus/rules.yml.new deploy/prometheus/rules.yml
	$(BIN)/python -W ignore deploy/grafana deploy/grafana
	mkdir -p docs/runbooks
	$(BIN)/python -c 'from pathlib import Path; from qmp_exporter.alerting.runbook import pages; [Path("docs/runbooks", name).write_text(text) for name, text in pages().items()]'
	$(BIN)/python -c 'from qmp_exporter.config import json_schema; print(json_schema(), end="")' \
	  > deploy/config.schema.json.new && mv deploy/config.schema.json.new deploy/config.schema.json
	$(BIN)/python -c 'from qmp_exporter.config.reference import reference; print(reference(), end="")' \
	  > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md

lock: .venv/.dev ## requirements.lock: the newest of every dependency, with its hashes
	$(BIN)/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

dist: .venv/.release ## the wheel and the sdist in dist/
	rm -f dist/*.whl dist/*.tar.gz
	$(BIN)/python -m build --no-isolation .
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz

deb: build-packages .venv/.release ## a Debian package in dist/, of the last commit's date; DEBIAN=trixie for another than bookworm
	deploy/debian/build $(DEBIAN) dist

sbom: .venv/.release ## dist/sbom.cdx.json: what the packages consist of, in CycloneDX
	@mkdir -p $(dir $(SBOM))
	PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file $(SBOM) requirements.lock

clean: ## remove everything that make has made
	rm -rf .venv .qemu .live .bare .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find qmp_exporter tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are younger than pyproject.toml as long as its dependencies are installed, so a second run costs nothing.
.venv/.run: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call apt_get,python3-venv); }
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(PIP) install --upgrade 'pip>=25.1' # the first that knows --group
	$(PIP) install --editable .
	@touch $@

.venv/.dev: .venv/.run
	$(PIP) install --group dev
	@touch $@ .venv/.release

# What builds the packages, without what tests them: a hypervisor needs no browser.
.venv/.release: .venv/.run
	$(PIP) install --group release
	@touch $@

# A root with that Debian's QEMU. A release that has ended or is to come has indexes past their dates, and not every one
# has the package that is named by a pattern.
# Prometheus 3 is in no Debian that is released.
.qemu/testing: MORE = prometheus promtool amtool prometheus-alertmanager
.qemu/%: | packages
	rm -rf $@.new && mkdir -p $@.new/bin
	mmdebstrap --quiet --variant=essential --aptopt='Acquire::Check-Valid-Until "false"' \
	  --include=qemu-system-x86,qemu-utils --include='?name(^qemu-system-modules-spice$$)' \
	  $(if $(MORE),--include=prometheus$(comma)promtool$(comma)prometheus-alertmanager) $* $@.new/root
	for program in qemu-system-x86_64 qemu-storage-daemon $(MORE); do \
	  ln -s ../../../tests/real/in_root.sh $@.new/bin/$$program; \
	done
	mv $@.new $@

# A root that boots, with what the Debian package depends on and nothing that it does not bring.
.live/%: | packages
	rm -rf $@ $@.new && mkdir -p $(@D)
	mmdebstrap --quiet --variant=essential --include=apt,systemd-sysv,dbus,python3,libstdc++6,acl $* $@.new
	mv $@.new $@

# What a newcomer has: Debian's smallest root, and the three programs that the README asks for.
.bare/%: | packages
	rm -rf $@ $@.new && mkdir -p $(@D)
	mmdebstrap --quiet --variant=minbase --include=ca-certificates,git,make,python3 $* $@.new
	mv $@.new $@

# Only what is missing, so that a second run asks no package server.
packages:
	@if ! command -v dpkg-query >/dev/null; then \
	  echo 'This is no Debian: tests whose programs are missing are skipped, tests/packages.txt lists them.'; exit; \
	fi; \
	release=$$(. /etc/os-release; echo $${VERSION_ID:-99}); \
	$(call missing,$$(awk -v release=$$release '/^[a-z]/ && $$2 <= release { print $$1 }' tests/packages.txt))

build-packages:
	@$(call missing,python3-venv $(TO_BUILD))

# missing PACKAGES: install those that are not there. A shell command, to be used in a recipe.
define missing
missing=; for package in $(1); do \
  dpkg-query --show --showformat='$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed \
    || missing="$$missing $$package"; \
done; \
if [ -n "$$missing" ]; then $(call apt_get,$$missing); fi
endef

# apt_get PACKAGES: as root it installs them, else it says what to install. A shell command, to be used in a recipe.
define apt_get
if [ $$(id -u) != 0 ]; then \
  echo 'Some Debian packages are missing. As root:' >&2; \
  echo "    apt-get install --no-install-recommends" $(1) >&2; \
  echo 'Then try again.' >&2; exit 1; \
fi; \
if [ -d /run/systemd/system ]; then \
  for service in $(SERVICES); do systemctl cat $$service >/dev/null 2>&1 || systemctl mask $$service; done; \
fi; \
apt-get update --quiet && \
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $(1)
endef
