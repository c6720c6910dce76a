# One word per habit. Needs make and a Python of at least 3.11; everything else goes into .venv.
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help venv demo test soak check book explorer numbers export execute lint reproduce bench gpu evidence digits weights versions lock clean

help:  ## list these words
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

venv: $(INSTALLED)  ## make .venv and install the tested set

# Done once, and again when what is to be installed changes.
$(INSTALLED): settings.ini constraints.txt setup.py pyproject.toml
	@for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	    if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "make venv: no Python of at least 3.11 with the venv module on the PATH; install one, or say PYTHON=/where/it/is" >&2; \
	    exit 1; \
	fi; \
	echo "Installing the tested set into .venv with $$($$found --version); the first time takes some minutes"; \
	$$found -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[run,parallel,dashboard,benchmarks,book,test]"
	@touch $@

demo: $(INSTALLED)  ## every chapter in minutes, offline: train, predict, search, train the winners, and the book of that run
	$(BIN)/opembed demo

# Two files or chapters at a time, each on one thread: on two cores that is fastest. `check` is among them.
test: book  ## every check: strict book, clean and exported notebooks, pytest, every chapter's outputs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

# Goes on where it was; in part: make soak ONLY=kills (or faults, asking, fuzz) MINUTES=30
soak: $(INSTALLED)  ## hours of kills, faults and broken inputs, into results/reliability/soak.json; ONLY= MINUTES=
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py $(if $(ONLY),--only $(ONLY)) $(if $(MINUTES),--minutes $(MINUTES))

check: $(INSTALLED)  ## notebooks are clean and in step with the package
	$(BIN)/python -m pytest tests/test_house_notebooks.py

book: $(INSTALLED)  ## build the book from the stored outputs, strictly
	$(BIN)/python book/build.py

# Of your own: make explorer DATA=mine.jsonl trains both models first; MODELS="gcn gcn-emb" are others
explorer: $(INSTALLED)  ## build the pages of Explore alone, into _build/explore; DATA= MODELS=
	$(BIN)/python explorer/build.py $(if $(DATA),--data $(DATA)) $(if $(MODELS),--models $(MODELS))

numbers: $(INSTALLED)  ## fill in the numbers of README and book from their records
	$(BIN)/python -m opembed_nb.lab.numbers

export: $(INSTALLED)  ## write the package from the notebooks
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export

execute: $(INSTALLED)  ## run every chapter in place to refresh its stored outputs
	$(BIN)/python book/execute.py
	$(BIN)/nbdev_clean

lint: $(INSTALLED)  ## ruff over package, notebooks, tests and tools
	$(BIN)/ruff check

# One model of the paper's width: make reproduce MODEL=dvae-emb SEED=1
reproduce: $(INSTALLED)  ## the paper profile: many hours, best on a GPU; with MODEL= SEED= DATA= one committed training again, compared with its record
	$(BIN)/opembed $(if $(MODEL),reproduce $(MODEL) --seed $(or $(SEED),0) --data $(or $(DATA),enas-cifar10),run paper)

bench: $(INSTALLED)  ## speed, as ratios measured in one run
	$(BIN)/python benchmarks/run.py

gpu: $(INSTALLED)  ## on a CUDA device: parity, one training, prediction and search, and how much sooner
	$(BIN)/python benchmarks/gpu.py

# Part of it: make evidence DATA=enas-digits ARMS="learned-3 one-hot" SEEDS="0 1" MODELS=dvae
# Its searches: make evidence SEARCH=1
WORKERS ?= 2
evidence: $(INSTALLED)  ## what is missing of the study of embeddings, two at a time; WORKERS= MINUTES= DATA= ARMS= SEEDS= MODELS= SEARCH=
	OMP_NUM_THREADS=1 $(BIN)/python -m opembed_nb.lab.runner arms --workers $(WORKERS) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEARCH),--search) \
	    $(if $(DATA),--data $(DATA)) $(if $(MODELS),--models $(MODELS)) $(if $(ARMS),--arms $(ARMS)) $(if $(SEEDS),--seeds $(SEEDS))

digits: $(INSTALLED)  ## make the data set enas-digits, its supernet and the ranking study again
	$(BIN)/opembed digits opembed_nb/assets

weights: $(INSTALLED)  ## make the models that come with the package again: train them, measure them, write their cards
	$(BIN)/opembed weights opembed_nb/assets

# The newest versions with every Python from 3.11 on that is found, the oldest with 3.11; PYTHONS="…" names others.
PYTHONS ?= $(shell for version in 11 12 13 14; do command -v python3.$$version; done)
versions: $(INSTALLED)  ## install sdist and wheel anew with the oldest and the newest versions allowed, and test them: gigabytes, half an hour
	$(BIN)/python tests/versions.py --lowest --python python3.11
	$(BIN)/python tests/versions.py --python $(PYTHONS)

lock: $(INSTALLED)  ## write requirements.lock and the list of licences from constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --python-version 3.11.5 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-annotate \
	    --custom-compile-command "make lock" -c constraints.txt $(foreach extra,run parallel dashboard benchmarks book test,--extra $(extra)) pyproject.toml -o requirements.lock
	$(BIN)/python tests/licences.py

clean:  ## remove what is built; runs/ and .venv stay
	rm -rf _build build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
