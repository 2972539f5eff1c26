/* main: where the program begins. Everything else is in cli.c, so that tests can call it. */
#include "cli/cli.h"
#include "gateway/http_tls.h"

int main(int argc, char **argv) {
    http_tls_memory_begin();
    return cli_main(argc, argv);
}
