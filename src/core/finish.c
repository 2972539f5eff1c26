/* finish: what is left of a command after its commit, on a worker's thread: the first answer of
 * an earlier command, or what its type adds. See command.h. */
#include "base/json.h"
#include "core/command.h"
#include "core/rows.h"

struct replayed {
    struct reader *reader;
    struct command *command;
    struct fault *fault;
    enum err err;
};

static bool replayed_visit(void *ctx, const struct record *record) {
    struct replayed *r = ctx;
    struct answer *answer = &r->command->answer;
    const struct json *meta;
    void *loaded;
    r->err = json_parse(r->reader->parser, r->command->arena, record->meta, false, &meta, r->fault);
    if (r->err == OK)
        r->err = shape_load(&event_meta_shape, meta, r->command->arena, &loaded, r->fault);
    if (r->err != OK)
        return false;
    const struct event_meta *m = loaded;
    answer->body = arena_str(r->command->arena, m->answer.ptr ? m->answer : STR("{}"));
    answer->status = 200;
    if (!answer->body.ptr)
        r->err = fault_set(r->fault, ERR_NOMEM, "no memory for the answer");
    return false;
}

bool command_unfinished(const struct command *command) {
    return command->answer.err == OK && (command->answer.replayed || command->type->finish);
}

enum err command_finish(struct reader *reader, struct command *command, struct fault *fault) {
    if (!command->answer.replayed)
        return command->type->finish ? command->type->finish(reader, command, fault) : OK;
    struct replayed r = {.reader = reader, .command = command, .fault = fault, .err = ERR_IO};
    uint64_t next;
    enum err err = journal_read(reader->journal, command->answer.replay_seq, 1, replayed_visit, &r,
                                &next, fault);
    return err == OK ? r.err : err;
}
