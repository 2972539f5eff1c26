/* stream_source: see stream_source.h. */
#include "connect/stream_source.h"

#include "base/arena.h"
#include "base/mem.h"

enum err stream_source_open(const struct stream_source_ops *ops, const struct stream_source_options *options,
                            struct stream_source **out, struct fault *fault) {
    struct stream_source *source = mem_zalloc(ops->size);
    struct arena arena;
    if (!source)
        return fault_set(fault, ERR_NOMEM, "no memory for a stream");
    source->ops = ops;
    arena_init(&arena, 0);
    enum err err = ops->begin(source, options, &arena, fault);
    arena_free(&arena);
    if (err == OK)
        *out = source;
    else
        ops->close(source);
    return err;
}
