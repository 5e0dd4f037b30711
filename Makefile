# The short names for what people do. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export REVISION := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
# What a machine without a GPU can decide: none of it may skip.
DECIDABLE := stack,cudnn.pinned,cudnn.whole,cudnn.one-copy,numerics,compile.cpu,dataloader,training,server.answers,server.token,server.kernel,operations,distributed,contents
SHELL_SCRIPTS := .ci/run docker/install-layer docker/link-cuda docker/install-code docker/link-devel

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------------ the workstation

.PHONY: up
up: .env build ## build what changed, start the Lab, print its link
	@docker compose up --detach --wait --wait-timeout 180 || { docker compose logs --no-log-prefix --tail 50; exit 1; }
	@$(MAKE) --no-print-directory url

.PHONY: down
down: ## stop the Lab; notebooks and caches stay in their volumes
	@docker compose down

.PHONY: url
url: ## the Lab's link, token included
	@docker compose logs --no-log-prefix workstation | sed -nE 's|^[^ ]* {4}(https?://127\.0\.0\.1:.*)$$|\1|p' | tail -n 1 | grep . \
	    || { echo 'No Lab has been started yet: make up' >&2; exit 1; }

.PHONY: logs
logs: ## what the Lab prints
	@docker compose logs --follow

.PHONY: doctor
doctor: ## what this machine can do, as seen from inside the running Lab
	@docker compose exec workstation workstation-start workstation doctor

.PHONY: purge
purge: ## delete the image and BOTH volumes, your notebooks too; asks first
	@read -r -p 'This deletes the image and every notebook in the home volume. Type "delete" to go on: ' answer; \
	[ "$$answer" = delete ] || { echo 'Nothing was deleted.'; exit 1; }
	@docker compose down --volumes --rmi all

.PHONY: engine
engine:
	@scripts/install-docker

.PHONY: .env
.env: engine
	@scripts/configure

.PHONY: build
build: .env
	@docker compose build

.PHONY: cluster
cluster: build ## a head and NODES=2 more nodes on this host train JOB='examples run cnn …'
	@docker compose --project-directory . --file compose/cluster.yml up --scale node=$${NODES:-2}

.PHONY: devel
devel: .env ## the image with nvcc: IMAGE=torch-workstation:devel
	@TARGET=devel IMAGE=torch-workstation:devel docker compose build

# ------------------------------------------------------------------------------------------------------------- checking

.PHONY: test
test: unit image torch cluster-test browser ## unit, image, torch, cluster-test and browser; the notebooks are `make course`

.PHONY: unit
unit: venv ## tests that need no Docker
	@pytest tests/unit --numprocesses $${JOBS:-2}

.PHONY: image
image: venv build devel ## this image's own promises, on real containers, what a Lab survives, and the release scripts
	@pytest tests/image --ignore=tests/image/imagecheck --numprocesses $${JOBS:-2} --dist loadfile
	@pytest tests/survival tests/release

INSIDE := docker compose run --rm --no-deps -T --env HOME=/tmp \
	    --volume "$(CURDIR)/tests/torch:/tests/torch:ro" --workdir /tests/torch \
	    --env OMP_NUM_THREADS=1 workstation python -m pytest -p no:cacheprovider --numprocesses $${JOBS:-3} --dist loadgroup .

.PHONY: torch
torch: build ## the training code's tests, inside the image, each chapter with SEEDS=1 seed
	@$(INSIDE) --seeds $${SEEDS:-1}

.PHONY: seeds
seeds: build ## each chapter's promise with five seeds
	@$(INSIDE) -k seed

.PHONY: course
course: venv build ## every notebook, run through the Lab's server
	@pytest tests/course --numprocesses $${JOBS:-2}

.PHONY: cluster-test
cluster-test: venv build ## a cluster of containers survives the commonest faults; `make cluster-faults` does all
	@pytest tests/cluster -m 'not slow' --numprocesses $${JOBS:-2}

.PHONY: cluster-faults
cluster-faults: venv build ## every fault three times; writes docs/benchmarks/faults.md. Takes 20 minutes
	@pytest tests/cluster --repeats 3 --record docs/benchmarks/faults.md

.PHONY: browser
browser: venv build ## the Lab in a real Chromium, from a container of its own
	@pytest tests/browser

.PHONY: verify
verify: venv build ## judge the image with imagecheck, the conformance suite
	@PYTHONPATH=src python -m imagecheck torch-workstation:local --require $(DECIDABLE)

.PHONY: faults
faults: venv build ## prove that each of imagecheck's checks can fail, on broken images
	@pytest tests/image/imagecheck --numprocesses $${JOBS:-3}

.PHONY: deploy-check
deploy-check: venv build ## what deploys the image: cloud-init, Kubernetes, SkyPilot, JupyterHub, dev container
	@pytest tests/deploy

.PHONY: lab-faults
lab-faults: venv build ## kill, fill and starve a Lab, and see it come back; the table goes to docs/benchmarks/
	@pytest tests/survival --record

.PHONY: screenshot
screenshot: venv build ## take README's picture again
	@pytest tests/browser -k run_all --screenshot docs/images/lab.png

.PHONY: lint
lint: venv ## ruff, mypy, hadolint, shellcheck, schemas, lock
	@ruff check .
	@ruff format --check .
	@mypy
	@for script in scripts/*; do mypy "$$script"; done
	@hadolint Dockerfile tests/browser/Dockerfile
	@shellcheck $(SHELL_SCRIPTS)
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema --builtin-schema vendor.renovate renovate.json
	@scripts/lock --check

.PHONY: format
format: venv ## let ruff put the code in order
	@ruff check --fix .
	@ruff format .

.PHONY: lock
lock: venv ## resolve requirements/*.in again, keeping what still fits
	@scripts/lock

.PHONY: notebooks
notebooks: venv ## write the Chinese notebooks from the English ones and notebooks/zh/*.md
	@scripts/chinese-notebooks

.PHONY: bench
bench: venv build ## sizes and ratios, written to docs/benchmarks/
	@python scripts/bench

.PHONY: release
release: .env venv ## the commit's image as an OCI tar in dist/, dated by the commit
	@python scripts/release build

.PHONY: reproduce
reproduce: .env venv ## build it twice from nothing and compare, to the bit
	@python scripts/release reproduce

.PHONY: pull-bench
pull-bench: venv build ## from nothing to a ready Lab, by kind of image; writes docs/benchmarks/pull.md
	@python scripts/release build workstation
	@python scripts/release pull

.PHONY: sbom
sbom: venv build ## dist/sbom.cdx.json: the Python and Debian packages in the image (CycloneDX)
	@python scripts/sbom torch-workstation:local dist/sbom.cdx.json

.PHONY: audit
audit: venv build ## known flaws of what is in the image; asks OSV and the package mirror
	@python scripts/audit torch-workstation:local

.PHONY: supply-check
supply-check: venv build ## SBOM, signing, advisories, bytes to pull: each seen to fail on something broken
	@pytest tests/supply

.PHONY: bench-gpu
bench-gpu: ## training speed on this machine's GPUs, with the Python and PyTorch that are here; DRY=--dry-run without one
	@PATH="$${PATH#$(CURDIR)/$(BIN):}" python3 scripts/bench-gpu $(DRY)

.PHONY: venv
venv:
	@scripts/venv
