# SPDX-License-Identifier: Apache-2.0
#
#   make            pintled and pintle, into build/
#   make lab        simulated servers and clients, and the policy lab
#   make docs       the reference sections of docs/ and of the manual pages, from the tables in the sources
#   make check      all tests, on the real kernel (root); installs what is missing
#   make check-quick   some of them, one case of each file, in minutes: for while one works
#   make demo       the main job in two minutes (root); installs what is missing
#   make bench      speed, as ratios against rivals in the same run (root); BENCH='follow pass': only these
#   make check-compilers   the kernel's side by clang 14 to 19, loaded here (fetches what is missing)
#   make check-kernels   the kernel's side on Linux 6.1 and 6.12, under qemu (minutes)
#   make check-kubernetes   against a real Kubernetes control plane, built from Go modules once (15 minutes)
#   make experiment   the same traffic at random and steered; many requests from one address, or behind one
#                     gateway; batch beside chat, and a burst; a server that stands still: on real sockets
#                     (root, more than three hours)
#   make soak       an hour of all kinds of work: no false alarm, no failure, no drift (root; SOAK=N)
#   make experiments  tables and plots of the policy lab, into lab/docs/experiments/
#   make fuzz       the fuzz targets, for long: FUZZ_SECONDS each, or FUZZ_STEPS; FUZZ='fuzz_hold': only those
#   make install, make install-lab, make uninstall   DESTDIR= PREFIX=
#   make deb        the Debian package, in build/deb, checked by lintian
#   make chart      the Helm chart, as an archive in build/chart
#   make image      the image for Kubernetes, as an OCI archive in build/image (root); IMAGE='--arch arm64'
#   make format, make lint, make clean; V=1 shows the commands
#   SAN=1           the same under ASan and UBSan, into build-san/

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
V       ?=

O      := $(if $(SAN),build-san,build)
# The kernel's side has no sanitizers: both builds have one.
B      := $(O:build-san=build)
CLANG  ?= clang
# On Ubuntu 24.04, the bpftool in sbin works only with Ubuntu's own kernel.
BPFTOOL ?= $(firstword $(wildcard /usr/lib/linux-tools/*/bpftool /usr/sbin/bpftool) bpftool)
ARCH   := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/; s/ppc64le/powerpc/; s/riscv64/riscv/')

ifeq ($(V),1)
Q   :=
say  = @true
else
Q   := @
say  = @printf '  %-8s %s\n' $(1) $(2)
endif
MAKEFLAGS += --no-print-directory

# The CLI is linked without the network libraries, which it does not need.
PINTLE_PACKAGES := libbpf yaml-0.1 libcjson libnl-3.0 libnl-route-3.0
PACKAGES := $(PINTLE_PACKAGES) libcares libcurl libuv libmicrohttpd
# Under the sanitizers -O1 and -g1 build in less than half the time, and a stack shows lines as well.
CFLAGS  ?= $(if $(SAN),-O1 -g1,-O2 -g)
ALL_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wformat=2 -Wvla -fno-strict-aliasing -D_GNU_SOURCE -DPINTLE_VERSION='"$(VERSION)"' \
	-Iheaders -Ibpf -I$(B) $(shell pkg-config --cflags $(PACKAGES)) $(CPPFLAGS) $(CFLAGS)
SANFLAGS := $(if $(SAN),-fsanitize=address -fsanitize=undefined \
	-fno-sanitize-recover=undefined -fno-omit-frame-pointer)
ALL_CFLAGS += $(SANFLAGS)
LDLIBS   = $(shell pkg-config --libs $(PACKAGES)) -lm -lpthread
ALL_LDFLAGS = $(LDFLAGS) $(SANFLAGS)

BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -D__TARGET_ARCH_$(ARCH) \
	-Iheaders -Ibpf -idirafter /usr/include/$(shell uname -m)-linux-gnu

# One list of objects for each program: all files in its folders.
objects  = $(patsubst %.c,$(O)/%.o,$(wildcard $(addsuffix /*.c,$(1))))
COMMON  := $(call objects,$(addprefix userspace/,base yaml config net maps))
POLICY  := $(call objects,userspace/policy)
FETCH   := $(call objects,$(addprefix userspace/,fetch kubernetes responder))
PINTLED := $(call objects,$(addprefix userspace/pintled/,core attach devices publish observe))
PINTLE  := $(call objects,userspace/pintle $(addprefix userspace/pintle/,nouns verbs explain top report doctor))
REFERENCE := $(call objects,docs/reference)
BPF_SRC := $(wildcard bpf/*/*.bpf.c)
BPF_OBJ := $(patsubst %.bpf.c,$(B)/%.bpf.o,$(BPF_SRC))
UNIT    := $(patsubst %.c,$(O)/%,$(wildcard tests/unit/test_*.c lab/tests/test_*.c))
BPFTEST := $(patsubst %.c,$(O)/%,$(wildcard tests/bpf/test_*.c))
FUZZERS := $(patsubst %.c,$(O)/%,$(wildcard tests/fuzz/fuzz_*.c lab/tests/fuzz_*.c))

.PHONY: all docs check check-quick check-compilers check-kernels check-kubernetes demo bench fuzz fuzzers programs tests install install-lab uninstall clean format format-check lint deps clients variants deb chart image
.DELETE_ON_ERROR:
.SECONDARY:

all: $(O)/pintled $(O)/pintle

# -- the kernel's side ---------------------------------------------------------

$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h bpf/*/*.h) headers/pintle/abi.h
	$(call say,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(B)/pintle.bpf.o: $(BPF_OBJ)
	$(call say,LINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

# The skeleton names types of the test cases in bpf/rule/rule.bpf.c, so it needs their headers.
$(B)/pintle.skel.h: $(B)/pintle.bpf.o
	$(call say,SKEL,$@)
	$(Q){ printf '#include "%s"\n' rule/chunk.bpf.h rule/classes.bpf.h rule/eligible.bpf.h rule/quota.bpf.h && $(BPFTOOL) gen skeleton $< name pintle_bpf; } > $@

# -- programs ------------------------------------------------------------------

$(O)/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# A changed VERSION remakes the objects that name it. A changed COMMIT remakes one, of which the programs that users
# run are linked; libraries and tests have that object without it.
.PHONY: always
ifeq ($(origin COMMIT),undefined)
COMMIT := $(shell scripts/commit)
endif
$(O)/version: says = $(VERSION)
$(O)/commit: says = $(COMMIT)
$(O)/version $(O)/commit: always
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(says)' | cmp -s - $@ || echo '$(says)' > $@
$(patsubst %.c,$(O)/%.o,$(shell grep -rls --include='*.c' PINTLE_VERSION userspace lab)): $(O)/version

# Objects that include the skeleton are built after it.
$(PINTLED) $(REFERENCE): | $(B)/pintle.skel.h
$(patsubst %,%.o,$(BPFTEST) $(UNIT)): | $(B)/pintle.skel.h

$(O)/libpintle.a: $(COMMON)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# The daemon without main(), so that tests can link its parts.
$(O)/libpintled.a: $(filter-out %/main.o,$(PINTLED)) $(FETCH) $(POLICY)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(O)/build.o: userspace/base/build.c userspace/base/build.h $(O)/version $(O)/commit
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(if $(COMMIT),-DPINTLE_COMMIT='"$(COMMIT)"') -c $< -o $@

$(O)/pintled: $(O)/userspace/pintled/core/main.o $(O)/build.o $(O)/libpintled.a $(O)/libpintle.a
$(O)/pintle: $(PINTLE) $(O)/build.o $(O)/userspace/policy/trial.o $(O)/libpintle.a
$(O)/pintle: LDLIBS = $(shell pkg-config --libs $(PINTLE_PACKAGES) ncursesw) -lm
$(O)/pintled $(O)/pintle:
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ $(LDLIBS)

# -- the lab: its Makefile is its own; an image is built without --------------

-include lab/Makefile

# -- documentation -------------------------------------------------------------

$(O)/write-reference: LDLIBS += $(shell pkg-config --libs ncursesw)
$(O)/write-reference: $(REFERENCE) $(filter-out %/main.o,$(PINTLE)) $(O)/libpintled.a $(O)/libpintle.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ $(LDLIBS)

docs: $(O)/write-reference
	$(Q)$< docs/*.md lab/docs/*.md docs/man/* manifests/crd.yaml

# -- tests ---------------------------------------------------------------------

$(UNIT) $(BPFTEST): $(O)/%: $(O)/%.o $(O)/libpintle-lab.a $(O)/libpintled.a $(O)/libpintle.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $< $(filter-out $<,$^) -o $@ -lcmocka $(LAB_LIBS) $(LDLIBS)

# This test runs the program itself.
$(O)/tests/unit/test_cli: | $(O)/pintle

FUZZ_CFLAGS = $(filter-out $(SANFLAGS),$(ALL_CFLAGS)) -Wno-missing-prototypes -g -O1 \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
# Fuzzers are built from source by clang, as one program each.
$(FUZZERS): $(O)/%: %.c $(wildcard bpf/*.h bpf/*/*.h userspace/*/*.[ch] userspace/*/*/*.[ch] lab/*/*.[ch])
	$(call say,FUZZ,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) $< $$(sed -n 's/^ \* sources: //p' $<) -o $@ $(LAB_LIBS) $(LDLIBS)
fuzzers: $(FUZZERS)

# Servers and clients for the cases and the benchmark, one file each.
HELPERS := $(addprefix $(O)/tests/,bench/conn bench/http e2e/mixture e2e/peer e2e/verdicts)
programs: all lab $(O)/write-reference $(HELPERS)
tests: programs $(UNIT) $(BPFTEST)

$(HELPERS): %: %.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ -o $@ -lpthread -lhttp_parser -lm
$(O)/tests/e2e/verdicts: $(O)/userspace/policy/classify.o

clients:
	$(Q)scripts/clients

variants:
	$(Q)tests/variants

deps:
	$(Q)scripts/deps

# CHECK: further arguments for tests/run.
CHECK ?=
check: deps
	$(Q)tests/run --clients $(CHECK)
check-quick: deps
	$(Q)tests/run --quick

# SOAK times as long as in `make check`, two minutes; from 3 on with prefills of 60 s.
SOAK ?= 30
.PHONY: soak
soak: deps
	$(Q)PINTLE_SOAK='$(SOAK)' tests/run --plain --filter e2e/soak/no_false_alarm

check-compilers:
	$(Q)scripts/deps compilers fresh
	$(Q)tests/run --filter compilers/

check-kernels:
	$(Q)scripts/deps kernels
	$(Q)$(MAKE) all $(BPFTEST)
	$(Q)O='$(O)' tests/kernels

# Without Go, buildah or a mirror the scripts say so, and the cases that need what they make are skipped.
check-kubernetes: deps
	$(Q)scripts/deps image
	$(Q)tests/kubernetes/build
	$(Q)tests/kubernetes/build-nodes || [ $$? = 77 ]
	$(Q)scripts/image || [ $$? = 77 ]
	$(Q)tests/run --filter kubernetes/

demo:
	$(Q)scripts/deps demo
	$(Q)$(MAKE) all $(O)/pintle-sim $(O)/pintle-load
	$(Q)scripts/demo

bench:
	$(Q)scripts/deps bench
	$(Q)scripts/clients python router
	$(Q)$(MAKE) all $(O)/tests/bench/conn $(O)/tests/bench/http
	$(Q)tests/bench/run --save $(BENCH)

FUZZ_SECONDS ?= 600
FUZZ_STEPS ?=
FUZZ ?=
fuzz: fuzzers
	$(Q)FUZZ_STEPS='$(FUZZ_STEPS)' tests/fuzz/run $(O) $(FUZZ_SECONDS) $(FUZZ)

# -- housekeeping --------------------------------------------------------------

C_FILES = $(shell git ls-files -co --exclude-standard -- '*.c' '*.h')
SH_FILES = $(shell git ls-files -co --exclude-standard | xargs grep -lE '^.!(/usr/bin/env bash|/bin/sh|/bin/bash)')

format:
	$(Q)clang-format -i $(C_FILES)

format-check:
	$(Q)clang-format --dry-run -Werror $(C_FILES)

lint: $(B)/pintle.skel.h
	$(Q)scripts/lint

install: all
	$(Q)PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' O='$(O)' scripts/install

install-lab: lab
	$(Q)PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' O='$(O)' scripts/install lab

uninstall: all
	$(Q)PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' O='$(O)' scripts/install remove

deb:
	$(Q)scripts/deps deb
	$(Q)scripts/deb

chart:
	$(Q)scripts/chart

IMAGE ?=
image:
	$(Q)scripts/deps image
	$(Q)scripts/image $(IMAGE)

clean:
	$(Q)rm -rf build build-san

-include $(shell find $(addprefix $(O)/,userspace lab docs tests) -name '*.d' 2>/dev/null)
