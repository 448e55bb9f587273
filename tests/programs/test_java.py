"""java: a virtual machine with many threads and memory maps, and its compiler."""

from __future__ import annotations

from tests.helpers import Twin, program

HELLO = """
import java.nio.file.*; import java.util.stream.*;
public class Hello { public static void main(String[] a) throws Exception {
  Files.writeString(Path.of("made"), "x".repeat(1000));
  System.out.println(IntStream.range(0, 50).parallel().mapToObj(i -> { try { Path p = Path.of("f" + i); Files.writeString(p, "" + i);
    return Files.size(p); } catch (Exception e) { return -1L; } }).mapToLong(x -> x).sum());
  try (Stream<Path> s = Files.list(Path.of("."))) { System.out.println(s.filter(p -> p.toString().startsWith("./f")).count()); }
  Process p = new ProcessBuilder("/bin/echo", "from java").redirectErrorStream(true).start();
  System.out.print(new String(p.getInputStream().readAllBytes())); System.out.println(p.waitFor());
  try { Files.size(Path.of("missing")); } catch (NoSuchFileException e) { System.out.println(e); }
  System.exit(7); } }
"""


def test_version(twin: Twin) -> None:
    twin.same([program("java"), "-version"], trees=False)


def test_compiled_hello(twin: Twin) -> None:
    program("javac")
    twin.write("Hello.java", HELLO)
    twin.same("javac Hello.java && java -XX:-UsePerfData Hello", status=7)
