# The project's habits, a command each. `make` lists them; every one is a line that also works without make.
.DEFAULT_GOAL := list
.PHONY: list setup test quick cover lint types bench docs release check

list:  ## what there is
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup:  ## in a new virtual environment: all that is needed to work here, and the checks before each commit
	pip install -e '.[dev]' && pre-commit install

test:  ## every test (10 minutes on two cores)
	pytest

quick:  ## the tests that take less than a second or two each
	pytest -m "not slow"

cover:  ## every test, and the branches that none of them took
	coverage erase && coverage run -m pytest; coverage combine -q && coverage report

lint:  ## style, layout, and the house's import rules (seconds)
	@failed=0; for check in "ruff check ." "ruff format --check ." "lint-imports --no-logo"; do \
		$$check || failed=1; done; exit $$failed

types:  ## mypy, strict (seconds)
	mypy && mypy packaging/app packaging/shell packaging/proofs docs/*.py && mypy packaging/deb

bench:  ## the benchmarks that need nothing but this package; `python -m benchmarks --list` has all
	python -m benchmarks

docs:  ## the pictures, the recorded screens, what the program says of itself, and the site in site/
	python docs/pictures.py && python docs/page_pictures.py && python docs/sessions.py && python docs/pages.py && python packaging/shell/write.py && python docs/benchmark_page.py && mkdocs build --strict --quiet

check:  ## everything that must hold before a change lands, in a new virtual environment
	.ci/run

release:  ## check everything, build the archives and try them; publishes nothing
	.ci/release
