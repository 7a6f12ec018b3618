# The project's commands. Needs Python 3.11, a JDK 17, curl and make; everything else is fetched at the versions pinned here.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # or each of the tests' Python processes compiles PySpark anew

PYTHON ?= python3.11
UV_VERSION := 0.13.9
UV := .venv/uv/bin/uv
PYTEST ?=
VERSION := $(shell sed -n 's/^ThisBuild \/ version := "\(.*\)"/\1/p' build.sbt)
WHEEL := python/dist/sfbatch-$(VERSION)-py3-none-any.whl
JAR_35 := target/scala-2.12/sfbatch-spark-3.5_2.12-$(VERSION).jar
JAR_4 := target/scala-2.13/sfbatch-spark-4_2.13-$(VERSION).jar
SCALA := $(shell find scala project build.sbt -type f -not -path '*/target/*')
PY := $(shell find python -name '*.py' -path '*/sfbatch/*') python/pyproject.toml
say = @printf '\033[1m== %s\033[0m\n' "$(1)"
as = $(if $(SIDE_BY_SIDE),2>&1 | sed -u 's/^/$(1) | /')

.PHONY: help demo test test-scala test-python test-spark-4.1 test-spark-4.3 test-s3 test-hdfs test-metastores test-readers test-jobs test-faults soak test-model lint format wheel bench bench-s3 bench-publishes load model lock clean

help: ## this list
	@grep -hE '^[a-z][a-z0-9. -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z][a-z0-9. -]*):[^#]*## */\1\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: .venv/spark-3.5/.wheel ## a year of flights by day: rewritten, looked back on, one day rolled back; stock Spark reads on (under 6 minutes)
	$(call say,the demo)
	.venv/spark-3.5/bin/python python/demo/flights.py

test: lint $(WHEEL) ## lint, Scala and Python tests on both Sparks from the built wheel, side by side
	@$(MAKE) --no-print-directory -j3 SIDE_BY_SIDE=yes test-scala test-python

test-scala: ## the Scala tests, both Sparks
	$(call say,Scala tests on Spark 3.5 and 4.0)
	project/sbt +test $(call as,scala)

test-python: .venv/spark-3.5/classes.jsa .venv/spark-4.0/classes.jsa ## the Python tests, both Sparks; choose with PYTEST='-k history'
	@failed=0
	for spark in 3.5 4.0; do
	  printf '\033[1m== Python tests on Spark %s\033[0m\n' $$spark
	  .venv/spark-$$spark/bin/python -m pytest -n 3 --dist loadfile -v -c tests/python/pytest.ini tests/python $(PYTEST) $(call as,python) || failed=1
	done
	exit $$failed

test-spark-4.1 test-spark-4.3: test-spark-%: .venv/spark-%/classes.jsa ## the Python tests on PySpark 4.1.4, 4.3.0
	$(call say,Python tests on Spark $*)
	.venv/spark-$*/bin/python -m pytest -n 2 --dist loadfile -v -c tests/python/pytest.ini tests/python $(PYTEST)

test-s3: .venv/spark-3.5/.wheel .venv/spark-4.0/.wheel build/.s3 ## the tests on S3 by S3A, both Sparks at once; fetches 840 MB first
	@$(MAKE) --no-print-directory -j2 SIDE_BY_SIDE=yes test-s3-3.5 test-s3-4.0

test-s3-4.1: .venv/spark-4.1/.wheel build/.s3-4.1 ## the tests on S3 by Hadoop 3.4.2, Spark 4.1; fetches 600 MB first
test-s3-%:
	@.venv/spark-$*/bin/python -m pytest -v -c tests/python/pytest.ini tests/python/s3 $(PYTEST) $(call as,$*)

test-hdfs: .venv/spark-3.5/.wheel .venv/spark-4.0/.wheel build/.hdfs ## the tests on HDFS, Hadoop's minicluster, both Sparks
	@for spark in 3.5 4.0; do
	  printf '\033[1m== HDFS and Spark %s\033[0m\n' $$spark
	  .venv/spark-$$spark/bin/python -m pytest -v -c tests/python/pytest.ini tests/python/hdfs $(PYTEST)
	done

test-metastores: .venv/spark-3.5/classes.jsa build/.metastores ## the protocol on Hive metastores 2.3.9, 3.1.3 and 4.0.1 with PostgreSQL and MariaDB (20 minutes)
	@cd tests/python
	failed=0
	run() {
	  printf '\033[1m== Hive metastore %s\033[0m\n' "$$1"
	  SFBATCH_TEST_METASTORE="$$1" ../../.venv/spark-3.5/bin/python -m pytest -n 2 --dist loadfile -c pytest.ini metastores $${@:2} $(PYTEST) || failed=1
	}
	sessions="test_lock_and_late.py test_concurrency.py test_golden.py test_create.py"
	run 2.3.9-postgres $$sessions
	run 3.1.3-mariadb $$sessions
	for metastore in 2.3.9-mariadb 3.1.3-postgres 4.0.1-postgres 4.0.1-mariadb; do run $$metastore; done
	exit $$failed

test-readers: .venv/spark-readers/classes.jsa .venv/spark-4.0/.installed .venv/spark-stock-4.1/.installed .venv/spark-stock-4.3/.installed build/.trino build/.s3 build/.metastores ## every kind of table read by Trino, stock Spark 3.5 to 4.3, pyarrow, pandas, DuckDB (20 minutes; fetches 2 GB first)
	$(call say,other readers)
	.venv/spark-readers/bin/python -m pytest -v -c tests/python/pytest.ini tests/python/readers $(PYTEST)
	$(call say,Trino beside switches with a Hive metastore on PostgreSQL)
	SFBATCH_TEST_METASTORE=2.3.9-postgres .venv/spark-readers/bin/python -m pytest -v -c tests/python/pytest.ini tests/python/readers/test_switches.py $(PYTEST)

test-jobs: .venv/jobs/.sfbatch ## the job server's tests: no Spark, no metastore
	$(call say,the job server)
	.venv/jobs/bin/python -m pytest -n 2 --dist loadfile -c tests/python/jobs/pytest.ini tests/python/jobs $(PYTEST)

test-faults: .venv/spark-3.5/classes.jsa build/.s3 build/.s3proxy build/.metastores ## 200 kills of a driver; 1,000 writes by 8 writers, 100 killed, while S3 and the metastore fail (an hour and a half)
	$(call say,200 kills at random moments)
	cd tests/python
	SFBATCH_TEST_KILLS=$${SFBATCH_TEST_KILLS:-200} ../../.venv/spark-3.5/bin/python -m pytest -c pytest.ini test_kill.py -k random_moments -s $(PYTEST)
	printf '\033[1m== 1,000 writes by 8 writers under faults of S3 and of the metastore\033[0m\n'
	SFBATCH_TEST_KILLS=$${SFBATCH_TEST_KILLS:-100} SFBATCH_TEST_WRITES=$${SFBATCH_TEST_WRITES:-1000} \
	  ../../.venv/spark-3.5/bin/python -m pytest -c pytest.ini faults -s $(PYTEST)

soak: .venv/spark-3.5/classes.jsa build/.s3 build/.s3proxy build/.metastores ## half an hour of mixed work on a table of 50,000 partitions on S3: what grows (an hour)
	$(call say,half an hour of mixed work on one table)
	cd tests/python
	../../.venv/spark-3.5/bin/python -m pytest -c pytest.ini soak -s $(PYTEST)

test-model: ## check small models of the protocol with spin, and that each safeguard is needed
	@if ! { command -v spin && command -v gcc; } >/dev/null; then echo "spin or gcc is not installed: the model is not checked"; exit 0; fi
	printf '\033[1m== the model: small searches, and each safeguard removed in turn\033[0m\n'
	model/check small
	model/check controls

model: ## check the large models (25 minutes)
	$(call say,the model, large)
	model/check large

lint: .venv/lint/.installed ## scalafmt, ruff, mypy --strict
	@printf '\033[1m== lint\033[0m\n'
	.venv/lint/bin/ruff format --config python/pyproject.toml --check $(wildcard python tests benchmarks notebooks)
	.venv/lint/bin/ruff check --config python/pyproject.toml $(wildcard python tests benchmarks notebooks)
	cd python
	../.venv/lint/bin/mypy -p sfbatch
	cd ..
	project/sbt scalafmtCheckAll scalafmtSbtCheck

format: .venv/lint/.installed ## let the formatters decide
	@.venv/lint/bin/ruff format --config python/pyproject.toml $(wildcard python tests benchmarks notebooks)
	.venv/lint/bin/ruff check --fix --config python/pyproject.toml $(wildcard python tests benchmarks notebooks)
	project/sbt scalafmtAll scalafmtSbt

bench: .venv/spark-3.5/.wheel ## compare with bare Parquet, Hive, Delta and Iceberg on TPC-H lineitem
	$(call say,benchmarks)
	UV=$(abspath $(UV)) benchmarks/run
	$(MAKE) load

bench-s3: .venv/spark-3.5/.wheel build/.s3 build/.s3proxy ## the same on an S3 server of this machine's, with Hudi too
	$(call say,benchmarks on S3)
	UV=$(abspath $(UV)) benchmarks/run --s3

bench-publishes: .venv/spark-3.5/.wheel build/.metastores ## what a publish costs at a metastore on PostgreSQL
	$(call say,what a publish asks for: 10 to 10000 versions and 10 to 50000 partitions)
	SFBATCH_TEST_LARGE=yes project/sbt "++2.12.18" "testOnly sfbatch.CountsSuite"
	$(call say,publishes at a metastore on PostgreSQL)
	.venv/spark-3.5/bin/python benchmarks/publishes.py

load: .venv/jobs/.sfbatch ## the job server's aims, measured: accepting, searching, starting, memory
	$(call say,the job server under load)
	.venv/jobs/bin/python benchmarks/jobs_load.py --report benchmarks/JOBS.md

wheel: $(WHEEL) ## both jars in one wheel, in python/dist/

clean: ## remove what was built (not the environments)
	@rm -rf build target project/target project/project python/dist python/sfbatch/jars

lock: $(UV) ## write the lock files anew from tests/python/requirements-*.in
	@cd tests/python
	for name in 3.5 4.0 4.1 4.3 readers stock-4.1 stock-4.3 jobs lint; do
	  ../../$(UV) pip compile -q --upgrade --python-version 3.11 --universal --generate-hashes \
	    --custom-compile-command 'make lock' requirements-$$name.in -o requirements-$$name.txt
	done

build/.jars: $(SCALA)
	$(call say,compiling for Spark 3.5 and 4.0 (the first time Spark is fetched))
	project/sbt +package
	mkdir -p build
	touch $@

build/.s3: build.sbt
	$(call say,fetching hadoop-aws and the AWS SDKs for the S3 tests (the first time 840 MB))
	project/sbt +s3/classPath
	touch $@

build/.s3proxy: build.sbt
	$(call say,fetching the S3 server s3proxy)
	project/sbt s3proxy/classPath
	touch $@

build/.s3-4.1: build.sbt
	$(call say,fetching hadoop-aws 3.4.2 and its AWS SDK)
	RUN_SPARK=4.1 project/sbt s3/classPath
	touch $@

build/.hdfs: build.sbt
	$(call say,fetching Hadoop's minicluster)
	project/sbt +hdfs/classPath
	touch $@

build/.metastores: build.sbt
	$(call say,fetching Hive's metastores 3.1.3 and 4.0.1 and two JDBC drivers)
	project/sbt metastores/parts
	touch $@

build/.trino: build.sbt
	$(call say,fetching Trino (450 MB))
	project/sbt trino/parts
	rm -rf build/trino/lib build/trino/plugin
	tar xzf "$$(sed -n 1p build/trino.parts)" -C build/trino --strip-components=1 --wildcards '*/lib'
	$(PYTHON) -m zipfile -e "$$(sed -n 2p build/trino.parts)" build/trino/plugin
	touch $@

$(WHEEL): build/.jars $(PY) .venv/lint/.installed
	$(call say,building $(WHEEL))
	rm -rf python/sfbatch/jars python/dist
	mkdir -p python/sfbatch/jars
	cp $(JAR_35) $(JAR_4) python/sfbatch/jars/
	$(UV) build -q --wheel --no-build-isolation --python .venv/lint/bin/python --out-dir python/dist python

$(UV):
	$(call say,fetching uv $(UV_VERSION))
	$(PYTHON) -m venv .venv/uv
	.venv/uv/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.venv/lint/.installed: tests/python/requirements-lint.txt $(UV)
	$(call say,making the lint environment)
	$(UV) venv -q --allow-existing --python $(PYTHON) .venv/lint
	$(UV) pip sync -q --python .venv/lint/bin/python --require-hashes $<
	touch $@

.venv/spark-%/.installed: tests/python/requirements-%.txt $(UV)
	$(call say,making the environment of Spark $* (PySpark is some 400 MB))
	$(UV) venv -q --allow-existing --python $(PYTHON) .venv/spark-$*
	$(UV) pip sync --python .venv/spark-$*/bin/python --require-hashes $<
	touch $@

# Named one by one: what a pattern alone names is no target when a newer file is at hand, and an old wheel would be tested.
$(patsubst %,.venv/spark-%/.wheel,3.5 4.0 4.1 4.3 readers): .venv/spark-%/.wheel: $(WHEEL) .venv/spark-%/.installed
	@$(UV) pip install -q --python .venv/spark-$*/bin/python --no-deps --reinstall $(WHEEL)
	touch $@

.venv/jobs/.sfbatch: tests/python/requirements-jobs.txt python/pyproject.toml build.sbt $(UV)
	$(call say,making the environment of the job server)
	$(UV) venv -q --allow-existing --python $(PYTHON) .venv/jobs
	$(UV) pip sync -q --compile-bytecode --python .venv/jobs/bin/python --require-hashes $<
	$(UV) pip install -q --python .venv/jobs/bin/python --no-deps --no-build-isolation --editable python
	touch $@

.venv/spark-%/classes.jsa: tests/python/jvm.py .venv/spark-%/.installed | .venv/spark-%/.wheel
	$(call say,archiving the classes of Spark $*: the tests' JVMs start in half the time)
	.venv/spark-$*/bin/python $<

.PRECIOUS: .venv/spark-%/.installed
