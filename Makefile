# SPDX-License-Identifier: Apache-2.0
# Everything a contributor runs. Each target installs the Debian packages it needs and says which.

CARGO ?= cargo
need = @scripts/need

# What is said to this makefile is not meant for ISA-L's, which cargo runs.
MAKEOVERRIDES :=
unexport DESTDIR

.DEFAULT_GOAL := help

## help: this list
.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## test: all tests; what .ci/run runs
.PHONY: test
test: lint check-foreign test-rust test-schedules test-fuzz test-c test-go test-kernel test-containerd

## lint: formatters, clippy, rustdoc, the structure of src/, the C ABI, go vet, manual pages, scripts, licences
.PHONY: lint
lint: lint-tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	$(CARGO) clippy --quiet --lib --features "$$(scripts/features)" -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --no-deps --workspace
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) fmt --manifest-path tests/forgetful/Cargo.toml --check
	CARGO_TARGET_DIR="$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/fuzz" $(CARGO) clippy --quiet --release --manifest-path fuzz/Cargo.toml --config fuzz/.cargo/config.toml -- -D warnings
	$(CARGO) test --quiet --test structure
	@wrong=$$(gofmt -l go-bindings bench/go); [ -z "$$wrong" ] || { echo "gofmt would change $$wrong"; exit 1; }
	cd go-bindings && $(GO_VET) ./...
	cd go-bindings/containerd/archive && $(GO_VET) ./...
	cd go-bindings/containerd && $(GO_VET) ./... && $(GO_VET) -tags e2e,bench ./e2e
	cd go-bindings/containerd/differences/builders && go vet ./...
	$(CARGO) publish --quiet --dry-run --locked --allow-dirty --no-verify --workspace --exclude ocilayer-bench --exclude ocilayer-kernel-test
	scripts/deny lint
	scripts/abi
	mandoc -T lint -W warning man/*
	shellcheck --severity=warning $(SCRIPTS)
	scripts/check-licences

# Nothing is linked, so the header suffices: no installed library, and no pkg-config file of it.
GO_VET := PKG_CONFIG=true CGO_CFLAGS="-I$(CURDIR)/include" go vet

# For the fastest gzip: `make build` takes it where these are there.
ISAL_PACKAGES := autoconf automake libtool make nasm

SCRIPTS := $(wildcard scripts/* .ci/run c-tests/*.sh tests/kernel/*.sh)
.PHONY: lint-tools
lint-tools:
	$(need) mandoc shellcheck $(ISAL_PACKAGES)
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy

## abi: writes include/ocilayer.abi, which make lint holds the header against, anew
.PHONY: abi
abi:
	scripts/abi release

## advisories: known faults in what is linked, by RustSec's list of today; github.com
.PHONY: advisories
advisories:
	scripts/deny advisories

## test-rust: unit tests, layers in every mode, the command; gzip again by ISA-L; root and overlayfs
.PHONY: test-rust
test-rust:
	$(need) $(TEST_PACKAGES)
	TMPDIR=$$(scripts/scratch) $(CARGO) test --quiet --workspace
	$(CARGO) test --quiet --features "$$(scripts/features)" --lib --test real_layers --test semantics_archive --test hostile_archives

## test-schedules: the queue between the threads, under thousands of schedules
.PHONY: test-schedules
test-schedules:
	RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}/schedules" $(CARGO) test --quiet --lib schedules

## test-fuzz: each fuzz target for some seconds, from a fixed seed; root and overlayfs
.PHONY: test-fuzz
test-fuzz:
	scripts/fuzz test

## fuzz: each fuzz target for TIME seconds, 60 if not said; what it finds is below target/fuzz; root and overlayfs
.PHONY: fuzz
fuzz:
	scripts/fuzz $(or $(TIME),60)

## test-sanitizers: the queue, its threads and whole unpacks under AddressSanitizer and ThreadSanitizer; 15 minutes
.PHONY: test-sanitizers
test-sanitizers:
	rustup component add rust-src
	$(ASAN) --lib pipeline
	$(ASAN) --test threads
	$(TSAN) --lib pipeline
	$(TSAN) --test threads

# The compiler has sanitizers for those who ask it in this way. A std that ThreadSanitizer does not see into
# would have it take for races what std keeps apart.
SANITIZED = RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=$(1) CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}/$(2)" $(CARGO) test --quiet --target "$$(rustc -vV | sed -n 's/^host: //p')"
ASAN = $(call SANITIZED,address,asan)
TSAN = $(call SANITIZED,thread,tsan) -Zbuild-std

# Other tools that the tests compare with, or take layers from.
TEST_PACKAGES := $(ISAL_PACKAGES) acl attr btrfs-progs buildah debootstrap e2fsprogs gzip libarchive-tools libcap2-bin skopeo tar umoci xfsprogs zstd

## demo: makes a Debian image of three layers, unpacks it in both modes, compares the trees; root
.PHONY: demo
demo:
	$(need) $(DEMO_PACKAGES)
	$(CARGO) build --quiet --release --package ocilayer-cli --features "$$(scripts/features)"
	$(CARGO) build --quiet --release --example compare_trees
	scripts/demo

DEMO_PACKAGES := $(ISAL_PACKAGES) attr buildah debootstrap jq

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib

## build: library and command for `make install`; neither installs packages: CARGO_BUILD_TARGET, CARGO_TARGET_DIR
.PHONY: build
build:
	scripts/build

## install: copies what was built, header, pkg-config and CMake files, manual pages: PREFIX, LIBDIR, DESTDIR
.PHONY: install
install:
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" scripts/install
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig || true

## uninstall: removes what install copied, with the same PREFIX, LIBDIR, DESTDIR
.PHONY: uninstall
uninstall:
	@PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" scripts/install uninstall

## build-differ: ocilayer-differ for containerd, with the library inside
.PHONY: build-differ
build-differ:
	scripts/build-differ

## install-differ: copies it, its units, its manual page and its configuration: PREFIX, DESTDIR
.PHONY: install-differ
install-differ:
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install-differ

## uninstall-differ: removes what install-differ copied, but for the configuration
.PHONY: uninstall-differ
uninstall-differ:
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install-differ uninstall

## portable: library and command for glibc 2.17, a static command, x86-64 and arm64, below target/portable
.PHONY: portable
portable:
	scripts/portable

## test-portable: their symbol versions, and what they do, arm64 under QEMU; root, 15 minutes the first time
.PHONY: test-portable
test-portable:
	scripts/test-portable

## deb: Debian packages for this machine, below target/deb: library, -dev, command, differ
.PHONY: deb
deb:
	scripts/deb

## test-deb: they are installed in a Debian without build tools, and used from C and Go; root, 8 minutes
.PHONY: test-deb
test-deb:
	scripts/test-deb

## dist: what a release publishes, below target/dist: source with all crates, binaries, packages, SBOM, sums; an hour
.PHONY: dist
dist:
	scripts/dist

## test-dist: the source builds without a network, in two directories the same bit by bit; 15 minutes
.PHONY: test-dist
test-dist:
	scripts/test-dist

## check-targets: library and command compile for six other machines
.PHONY: check-targets
check-targets:
	scripts/check-targets

## check-foreign: the same for one of 32 bits and one that is big-endian; what make test runs
.PHONY: check-foreign
check-foreign:
	scripts/check-targets i686-unknown-linux-gnu s390x-unknown-linux-gnu

## test-s390x: what reads archives on a big-endian machine, under QEMU
.PHONY: test-s390x
test-s390x:
	scripts/check-targets test

## test-powercut: CUTS=100 cuts for each file system and kind of sync, and what they damaged; root.
##     DEVICE=forgetful: by a device that loses what it was not told to flush
.PHONY: test-powercut
test-powercut:
	$(need) $(TEST_PACKAGES)
	$(if $(DEVICE),$(CARGO) build --quiet --release --manifest-path tests/$(DEVICE)/Cargo.toml --target-dir "$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/$(DEVICE)")
	$(if $(DEVICE),OCILAYER_FORGETFUL="$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/forgetful/release/ocilayer-forgetful") TMPDIR=$$(scripts/scratch) OCILAYER_CUTS=$(or $(CUTS),100) $(CARGO) test --quiet --test power_cut -- --nocapture

## header: writes include/ocilayer.h anew from src/capi, and from it the manual pages of its functions
.PHONY: header
header:
	OCILAYER_WRITE_HEADER=1 $(CARGO) test --quiet --test header
	OCILAYER_WRITE_HEADER=1 $(CARGO) test --quiet --test manual

## completions: writes completions/ for bash, zsh and fish anew from the command's arguments
.PHONY: completions
completions:
	OCILAYER_WRITE_COMPLETIONS=1 $(CARGO) test --quiet --package ocilayer-cli completions

## test-c: the C API as an installed library: C99, C11, C++17, shared, static, sanitizers, valgrind
.PHONY: test-c
test-c:
	scripts/test-c

## test-go: the Go package: shared, static, race detector, without cgo, other systems
.PHONY: test-go
test-go:
	scripts/test-go

## test-kernel: builds a kernel with the overlayfs bug, once; runs the library in it; 6 minutes, 1 GB
.PHONY: test-kernel
test-kernel:
	$(need) $(KERNEL_PACKAGES)
	$(CARGO) build --quiet --package ocilayer-cli --package ocilayer-kernel-test
	linux=$$(tests/kernel/build.sh) && "$${CARGO_TARGET_DIR:-target}/debug/ocilayer-kernel-test" "$$linux"

KERNEL_PACKAGES := bc bison e2fsprogs flex gcc libc6-dev linux-source make xz-utils

## test-containerd: containerd 2.x and 1.7 built, changed, and compared with stock; root, 10 minutes
.PHONY: test-containerd
test-containerd:
	$(need) $(CONTAINERD_PACKAGES)
	scripts/check-deploy
	scripts/test-containerd

## bench-containerd: times `ctr image import` with stock containerd and with ocilayer, in pairs
.PHONY: bench-containerd
bench-containerd:
	$(need) $(CONTAINERD_PACKAGES)
	scripts/test-containerd -tags e2e,bench -run Benchmark

CONTAINERD_PACKAGES := $(ISAL_PACKAGES) acl attr buildah busybox bzip2 cpio curl debootstrap docker-registry dpkg-dev gcc git isal jq libarchive-tools libc6-dev libcap2-bin p7zip-full pax perl pigz pkg-config python3 python3-venv runc skopeo systemd tabix umoci util-linux xz-utils zopfli zstd

## bench: compares with other appliers on real layers; QUICK=1 for a first look, ARGS; root, 12 GB of disk
.PHONY: bench
bench:
	$(need) $(BENCH_PACKAGES)
	@npm --version >/dev/null 2>&1 || scripts/need npm
	scripts/bench-peers
	$(CARGO) run --quiet --release --package ocilayer-bench --features "$$(scripts/features)" -- $(if $(QUICK),--quick) $(ARGS)

## bench-check: what is slower than in docs/performance-table.md by more than the spread, beside containerd; ARGS; root
.PHONY: bench-check
bench-check:
	$(MAKE) bench QUICK=1 ARGS='--applier ocilayer --against docs/performance-table.md --output target/bench/check.json $(ARGS)'

## bench-sync: what --sync costs on ext4, xfs and btrfs, alone and beside a neighbour; `make bench` first; root
.PHONY: bench-sync
bench-sync:
	NEIGHBOUR="$(or $(NEIGHBOUR),alone neighbour)" scripts/bench-sync $(ROUNDS)

## bench-go: what it costs to unpack from Go: the command, an os.File, a pipe, in turns; root
.PHONY: bench-go
bench-go:
	scripts/bench-go $(RUNS)

## bench-stages: each stage alone: inflate, hash, parse, resolve, create; root
.PHONY: bench-stages
bench-stages:
	$(need) debootstrap gzip tar zstd
	scripts/debian-layer "$${CARGO_TARGET_DIR:-target}/tmp/real-layers"
	LAYER="$$(realpath "$${CARGO_TARGET_DIR:-target}")/tmp/real-layers/debian.tar.gz" $(CARGO) bench --package ocilayer-bench --features "$$(scripts/features)" --bench stages

BENCH_PACKAGES := $(ISAL_PACKAGES) btrfs-progs debootstrap e2fsprogs gzip isal libarchive-tools pigz python3-pip strace tar xfsprogs zstd

## deps: installs what all of the above need
.PHONY: deps
deps: lint-tools
	$(need) $(TEST_PACKAGES) $(DEMO_PACKAGES) $(BENCH_PACKAGES) $(CONTAINERD_PACKAGES) $(KERNEL_PACKAGES)

## clean: removes what was built, and the demo's downloads
.PHONY: clean
clean:
	$(CARGO) clean
