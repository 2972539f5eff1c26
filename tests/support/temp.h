/* temp: a folder of its own for a test, removed with all that is in it. */
#ifndef PENSTOCK_TESTS_SUPPORT_TEMP_H
#define PENSTOCK_TESTS_SUPPORT_TEMP_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

static inline int temp_remove_one(const char *path, const struct stat *st, int kind,
                                  struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}
static inline void temp_remove(char *path) {
    nftw(path, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}
/* free with temp_remove */
static inline char *temp_folder(void) {
    const char *top = getenv("TMPDIR");
    char *path = NULL;
    must(asprintf(&path, "%s/penstock-test-XXXXXX", top && top[0] ? top : "/tmp") > 0);
    must(mkdtemp(path) != NULL);
    return path;
}

#endif
