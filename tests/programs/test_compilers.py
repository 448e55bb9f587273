"""Compilers build inside what they build natively, and it runs there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers import Twin, program

HELLO = """#include <stdio.h>
#include "part.h"
int main(int argc, char **argv) { printf("hello %s %d\\n", argc > 1 ? argv[1] : "none", part(argc)); return 3; }
"""
PART = """#include <pthread.h>
#include "part.h"
static void *work(void *n) { *(int *)n *= 7; return 0; }
int part(int n) { pthread_t t; pthread_create(&t, 0, work, &n); pthread_join(t, 0); return n; }
"""
NOPIC = "-no-pie -fno-pic"


@pytest.fixture
def sources(twin: Twin) -> Twin:
    twin.write("hello.c", HELLO)
    twin.write("part.c", PART)
    twin.write("part.h", "int part(int);\n")
    return twin


@pytest.mark.parametrize("flags", ["-O2", "-O0 -g", "-static", NOPIC, "-static-pie", "-pipe -flto", "-m64 -Wl,-z,now"])
def test_gcc(sources: Twin, flags: str) -> None:
    program("gcc")
    sources.same(f"gcc -Wall {flags} -pthread -frandom-seed=1 -o hello hello.c part.c && ./hello world", status=3,
                 trees="lto" not in flags)  # fmt: skip


def test_libraries_and_make(sources: Twin) -> None:
    """Objects, an archive, a shared library found by rpath and by LD_LIBRARY_PATH, dlopen."""
    program("gcc")
    sources.write("load.c", '#include <dlfcn.h>\nint main(void) { void *l = dlopen("./libpart.so", RTLD_NOW); '
                  'int (*f)(int) = l ? (int (*)(int))dlsym(l, "part") : 0; return f ? f(6) : 1; }\n')  # fmt: skip
    sources.write("Makefile", "all: one two load\n%.o: %.c part.h\n\tgcc -fPIC -c $<\nlibpart.a: part.o\n\tar rcD $@ $<\n"
                  "libpart.so: part.o\n\tgcc -shared -pthread -o $@ $<\none: hello.o libpart.a\n\tgcc -o $@ $^ -pthread\n"
                  "two: hello.o libpart.so\n\tgcc -o $@ hello.o -L. -lpart -Wl,-rpath,'$$ORIGIN'\nload: load.o libpart.so\n"
                  "\tgcc -o $@ load.o -ldl\n")  # fmt: skip
    sources.same("make -s -j2; ./one a; ./two b; ./load; echo $?; nm libpart.a | grep -c part; touch part.h; make -q; echo $?")


def test_compile_errors(twin: Twin) -> None:
    program("gcc")
    twin.write("bad.c", '#include "missing.h"\n')
    twin.write("worse.c", "int main(void) { return x; }\n")
    twin.same("gcc bad.c", status=1)
    twin.same("gcc worse.c", status=1)
    twin.same("gcc nothing.c", status=1)


def test_cxx(twin: Twin) -> None:
    program("g++")
    twin.write("x.cc", '#include <iostream>\n#include <vector>\n#include <thread>\nint main() { std::vector<int> v(1000, 2); int s = 0; '
               'std::thread([&] { for (int x : v) s += x; }).join(); try { throw s; } catch (int e) { std::cout << e << "\\n"; } }\n')  # fmt: skip
    assert twin.same("g++ -O1 -o x x.cc && ./x").stdout == b"2000\n"


@pytest.mark.parametrize("flags", ["", "-static"])
def test_musl(sources: Twin, flags: str) -> None:
    """Another libc with its own loader."""
    program("musl-gcc")
    sources.same(f"musl-gcc {flags} -pthread -frandom-seed=1 -o hello hello.c part.c && ./hello musl", status=3)


def test_go(twin: Twin) -> None:
    """A static program with a runtime of its own: threads, vfork and signals without a libc."""
    program("go")
    twin.write("main.go", 'package main\nimport ("fmt"; "os"; "os/exec"; "sync")\nfunc main() {\n var g sync.WaitGroup\n'
               ' for i := 0; i < 20; i++ { g.Add(1); go func(i int) { defer g.Done(); os.WriteFile(fmt.Sprint("f", i), []byte("x"), 0644) }(i) }\n'
               ' g.Wait()\n out, err := exec.Command("/bin/echo", "from go").Output()\n fmt.Print(string(out)); fmt.Println(err)\n'
               ' _, err = os.Stat("missing"); fmt.Println(err); e, _ := os.ReadDir("."); fmt.Println(len(e)); os.Exit(4)\n}\n')  # fmt: skip
    env = {"GOCACHE": "/tmp/go-cache", "GOPATH": "/tmp/go", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    build = twin.native("go build -o program main.go", env=env)
    assert build.status == 0, build.stderr
    shutil.copy2(twin.here / "program", twin.there / "program")
    twin.same("./program", status=4)
    twin.same("go vet main.go; go build -o again main.go && ./again", status=4, env=env, trees=False)


def test_rust(twin: Twin) -> None:
    compiler = Path(program("rustc", str(Path.home() / ".cargo/bin")))
    twin.write("main.rs", 'use std::{fs, process::Command, thread};\nfn main() { let t = thread::spawn(|| fs::write("f", "x").unwrap()); '
               't.join().unwrap(); let o = Command::new("/bin/echo").arg("from rust").output().unwrap(); '
               'print!("{}", String::from_utf8_lossy(&o.stdout)); println!("{:?}", fs::metadata("missing").map_err(|e| e.raw_os_error())'
               '.err()); std::process::exit(5) }\n')  # fmt: skip
    home = str(Path.home())
    env = {"HOME": home, "CARGO_HOME": f"{home}/.cargo", "RUSTUP_HOME": f"{home}/.rustup"}
    build = twin.native([compiler, "main.rs"], env=env)
    if build.status:
        pytest.skip(f"rustc does not compile here: {build.stderr.decode()[:100]}")
    shutil.copy2(twin.here / "main", twin.there / "main")
    twin.same("./main", status=5)
