/* fuzz: what every target declares: libFuzzer's entrance. A target returns 0 always; what is
 * wrong is found by the sanitizers and by must(). */
#ifndef PENSTOCK_TESTS_FUZZ_H
#define PENSTOCK_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
