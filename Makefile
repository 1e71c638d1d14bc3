# For machines without ROS. On a robot: colcon build, ros2 launch ssvif_ros fusion.launch.py.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# CPU torch: the package index's build for Linux x86-64 brings gigabytes of CUDA, so torch's own
# index is asked as well, except in CI, which has a CPU build. Set TORCH_INDEX= for a CUDA build.
TORCH ?= torch==2.13.0
TORCH_INDEX ?= $(if $(CI),,--extra-index-url https://download.pytorch.org/whl/cpu)
PIP := $(BIN)/python -m pip install $(if $(CI),--quiet) --disable-pip-version-check --no-compile

ENGINE_TESTS := test/core/engines/test_engines.py test/core/graph test/core/test_pipeline.py

MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# make demo BAG=path VISIBLE=/topic ... -> ssvif demo --bag path --visible /topic ...
DEMO = $(foreach option,BAG:bag VISIBLE:visible THERMAL:thermal SLOP:slop VIDEO:video \
  THERMAL_VIDEO:thermal-video FRAMES:frames WORKING_SIZE:working-size,$(call pass,$(subst :, ,$(option))))
pass = $(if $($(firstword $(1))),--$(lastword $(1)) "$($(firstword $(1)))")

.DEFAULT_GOAL := help
.PHONY: help setup setup-train demo test test-fast test-oldest test-newest test-kilted faults lint format docs bench clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: $(VENV)/.run  ## Install what running needs into .venv

setup-train: $(VENV)/.train  ## Install what training and testing need, too

demo: setup  ## Replay a drive through the node; BAG= VISIBLE= THERMAL=, or VIDEO= THERMAL_VIDEO=
	$(BIN)/ssvif demo $(DEMO)

test: setup-train lint  ## Check style and types, run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --doctest-modules \
	  test/core test/docs ssvif_core
	# The engines once more with the instructions of an older CPU
	ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m "not slow" \
	  $(ENGINE_TESTS)
	# These tests wait more than they compute
	$(BIN)/python -m pytest -n 3 --dist loadfile test/ros test/pip_ros

test-fast: setup-train  ## The inner loop: quick tests without ROS, under 90 seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m "not slow and not ros" test/core

faults: setup-train  ## Inject faults into a running node; writes docs/results/faults.json
	$(BIN)/python -m pytest -q --timeout 2400 test/faults
	$(BIN)/python tools/faults_page.py

# Other versions lie in folders that come before the locked ones.
OLDEST := $(foreach opencv,4.5.5.64 4.6.0.66,$(VENV)/opencv-$(opencv))
NEWEST := $(VENV)/newest

test-oldest: setup-train $(OLDEST)  ## The tests with OpenCV as in Ubuntu 22.04 and 24.04, NumPy 1
	for folder in $(OLDEST); do \
	  PYTHONPATH=$$folder OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q --dist loadfile test/core \
	    || exit 1; \
	done

test-newest: setup-train $(NEWEST)  ## The tests with the newest OpenCV, NumPy and engines
	PYTHONPATH=$(NEWEST) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q --dist loadfile test/core

test-kilted: setup-train .venv-kilted/.made  ## The ROS tests on ROS 2 Kilted and newer
	.venv-kilted/bin/python -m pytest -n 2 -q --dist loadfile test/ros

$(OLDEST): $(VENV)/opencv-%:
	$(PIP) --no-deps --target $@ opencv-python-headless==$* numpy==1.26.4

$(NEWEST):
	$(PIP) --no-deps --target $@ opencv-python-headless numpy onnxruntime openvino

# Its own ROS, and behind it the packages of $(VENV).
.venv-kilted/.made: $(VENV)/.train
	$(PYTHON) -m venv .venv-kilted
	.venv-kilted/bin/python -m pip install --quiet --disable-pip-version-check 'ros-rclpy[fastrtps]' \
	  ros-kilted-sensor-msgs ros-kilted-std-srvs ros-kilted-diagnostic-msgs
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' \
	  % sysconfig.get_path('purelib'))" > .venv-kilted/rest.pth
	mv .venv-kilted/rest.pth .venv-kilted/lib/python3*/site-packages/
	@touch $@

lint: setup-train  ## Check style, types and layers; builds the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(MKDOCS)

format: setup-train  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup-train  ## Write the reference from the code, and build the site into site/
	$(BIN)/python tools/reference.py
	$(MKDOCS)

bench: setup-train  ## Measure engines and node; writes docs/results/bench.json
	$(BIN)/python tools/bench.py

clean:  ## Remove the environment and what the demo made
	rm -rf $(VENV) .venv-kilted demo_out demo_out_bag site build install log

$(VENV)/.run: requirements/run.txt setup.py pip_ros/pyproject.toml
	@echo "setting up $(VENV) (a few hundred MB to fetch)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps -r requirements/run.txt
	$(PIP) --no-deps --no-build-isolation -e ./pip_ros -e .
	@touch $@

$(VENV)/.train: $(VENV)/.run requirements/dev.txt requirements/docs.txt
	@echo "adding training and tests to $(VENV)"
	$(PIP) $(TORCH_INDEX) "$(TORCH)"
	$(PIP) --no-deps -r requirements/dev.txt -r requirements/docs.txt
	@touch $@
