/* replay: the main program of a fuzz target in a plain build. It feeds every file of the folder
 * given to the target, then mutations of it drawn from a fixed seed, so that a run is the same
 * every time: a test, where libFuzzer is a search. The sanitizers are the judges. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX (1u << 20)
#define MUTATIONS_PER_INPUT 200

static uint64_t random_state = 0x9e3779b97f4a7c15u;

/* xorshift64*: nothing here needs to be unpredictable. */
static uint32_t random_below(uint32_t bound) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1du) >> 32) % bound;
}

/* One of: flip a bit, set a byte, cut, repeat a piece, exchange a byte for one that parsers love. */
static size_t mutate(uint8_t *data, size_t size) {
    static const uint8_t loved[] = "\"\\{}[]:,0-9eE.+/\r\n\t \x00\x7f\x80\xc3\xed\xf4\xff";
    if (size == 0)
        return 0;
    uint32_t at = random_below((uint32_t)size);
    switch (random_below(5)) {
    case 0:
        data[at] ^= (uint8_t)(1u << random_below(8));
        return size;
    case 1:
        data[at] = (uint8_t)random_below(256);
        return size;
    case 2:
        return at;
    case 3: {
        size_t piece = 1 + random_below((uint32_t)(size - at));
        if (size + piece > INPUT_BYTES_MAX)
            return size;
        memmove(data + at + piece, data + at, size - at);
        return size + piece;
    }
    default:
        data[at] = loved[random_below(sizeof(loved) - 1)];
        return size;
    }
}

/* A copy of its own for each call, so that reading one byte too far is seen. */
static void feed(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void replay(const char *path) {
    static uint8_t original[INPUT_BYTES_MAX], data[INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "can not read %s\n", path);
        exit(1);
    }
    size_t size = fread(original, 1, sizeof(original), file);
    fclose(file);
    fprintf(stderr, "%s: %zu bytes\n", path, size);
    feed(original, size);
    for (int i = 0; i < MUTATIONS_PER_INPUT; i++) {
        size_t now = size;
        memcpy(data, original, size);
        for (uint32_t times = 1 + random_below(4); times; times--)
            now = mutate(data, now);
        feed(data, now);
    }
}

int main(int argc, char **argv) {
    struct dirent **entries;
    int count = argc == 2 ? scandir(argv[1], &entries, NULL, alphasort) : -1;
    if (count < 0) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    int fed = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char path[4096];
            int length = snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
            if (length < 0 || (size_t)length >= sizeof(path))
                return 2;
            replay(path);
            fed++;
        }
        free(entries[i]);
    }
    free(entries);
    return fed ? 0 : 1; /* an empty corpus shows nothing */
}
