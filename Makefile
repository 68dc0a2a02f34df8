# SPDX-License-Identifier: Apache-2.0

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib

# Builds and installs library, header, pkg-config file and manual pages.
.PHONY: install
install:
	PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" scripts/install

# Writes include/ocilayer.h anew from src/capi.
.PHONY: header
header:
	OCILAYER_WRITE_HEADER=1 cargo test --quiet --test header

# The C API as an installed library: C99, C11, C++17, shared, static, sanitizers, valgrind.
.PHONY: test-c
test-c:
	scripts/test-c
