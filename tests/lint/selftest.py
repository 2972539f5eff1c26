"""Shows that the lint checks can fail: every rule meets a text that breaks it, and one that
does not. A rule that finds nothing in its own example is a rule that has stopped working."""
import sys

import layers
import tidy

LONG = "int f(void) {\n" + "    g();\n" * tidy.FUNCTION_LINES_MAX + "}\n"
WRAPPED = "static int\nname(int a,\n     int b) {\n" + "    g();\n" * tidy.FUNCTION_LINES_MAX + "}\n"
TABLE = "static const struct row rows[] = {\n" + "    {1},\n" * 200 + "};\n"

# (rule, path, text, violations)
CASES = [
    (layers.check, "src/base/a.c", '#include "core/core.h"\n', 1),
    (layers.check, "src/core/a.c", '#include "base/err.h"\n#include "core/core.h"\n', 0),
    (layers.check, "src/core/a.c", '#include "core.h"\n', 1),
    (layers.check, "src/core/a.c", '#include "base/x_priv.h"\n', 1),
    (layers.check, "src/else/a.c", "", 1),
    (tidy.function_sizes, "src/base/a.c", LONG, 1),
    (tidy.function_sizes, "src/base/a.c", WRAPPED, 1),
    (tidy.function_sizes, "src/base/a.c", TABLE + "int f(void) {\n    return 1;\n}\n", 0),
    (tidy.sizes, "src/base/a.c", "int a;\n" * (tidy.FILE_LINES_MAX + 1), 1),
    (tidy.sizes, "src/base/a.c", "/" * 130 + "\n", 1),
    (tidy.banned, "src/base/a.c", "x = atoi(s);", 1),
    (tidy.banned, "src/base/a.c", "time(NULL); y = malloc (3);", 2),
    (tidy.banned, "src/base/mem.c", "y = malloc(3);", 0),
    (tidy.banned, "src/base/a.c", 'ops->free(x); mem_free(x); /* free(x) */ p("free(x)");', 0),
    (tidy.banned, "src/base/a.c", "assert(x); static_assert(x, y);", 1),
    (tidy.banned, "src/base/a.c", "typedef struct x x;", 1),
    (tidy.floatless, "src/domain/a.c", "double d;", 1),
    (tidy.floatless, "src/ops/a.c", "double d;", 0),
    (tidy.opening, "src/base/a.c", "int a;\n", 1),
    (tidy.opening, "src/base/a.c", "/* a: what it is. */\nint a;\n", 0),
    (tidy.leftovers, "src/base/a.c", "/* TO" + "DO: more */", 1),
    (tidy.leftovers, "src/base/a.c", "see /" + "home/me/x", 1),
]


def main():
    wrong = 0
    for rule, path, text, expected in CASES:
        found = list(rule(path, text))
        if len(found) != expected:
            print(f"{rule.__name__} of {text[:40]!r} finds {found}, expected {expected}")
            wrong += 1
    print(f"selftest: {len(CASES)} cases, {wrong} wrong")
    sys.exit(1 if wrong else 0)


main()
