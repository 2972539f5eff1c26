/* penstock-oracle: judges observations read from standard input, one JSON object a line (oracle.h
 * says which). Each violation is a line {"rule":…,"text":…}. Exit status: 0 the hub kept its word,
 * 1 it did not, 2 the observations can not be read. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "oracle.h"

static void tell(void *ctx, const char *rule, struct str text) {
    struct buf out;
    (void)ctx;
    buf_init(&out, 0);
    buf_lit(&out, "{\"rule\":");
    buf_json_str(&out, str_c(rule));
    buf_lit(&out, ",\"text\":");
    buf_json_str(&out, text);
    buf_lit(&out, "}\n");
    fwrite(out.data, 1, out.len, stdout);
    buf_free(&out);
}

int main(int argc, char **argv) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    unsigned long number = 0;
    if (argc > 1) {
        printf("usage: %s < OBSERVATIONS\n\nJudges what a hub did by what was observed of it: one "
               "JSON object a line,\nsee tests/oracle/oracle.h. Prints a line per violation.\n",
               argv[0]);
        return argv[1][0] == '-' && argv[1][1] == '-' && argv[1][2] == 'h' ? 0 : 2;
    }
    struct oracle *oracle = oracle_create();
    int status = 0;
    while (status == 0 && (len = getline(&line, &cap, stdin)) > 0) {
        const char *why;
        number++;
        if (line[len - 1] == '\n')
            len--;
        if (len > 0 && !oracle_observe(oracle, str_of(line, (size_t)len), &why)) {
            fprintf(stderr, "line %lu: %s\n", number, why);
            status = 2;
        }
    }
    free(line);
    if (status == 0 && oracle_judge(oracle, tell, NULL) > 0)
        status = 1;
    oracle_destroy(oracle);
    return status;
}
