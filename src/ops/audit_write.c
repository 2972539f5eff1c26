/* audit_write: see audit_write.h. */
#include "ops/audit_write.h"

#include "ops/ask.h"

void audit_note_make(struct audit_note *note, enum audit_kind kind, struct str action,
                     struct str about, struct str detail) {
    *note = (struct audit_note){.kind = (int32_t)kind, .action = action};
    shape_mark(note, NOTE_KIND);
    shape_mark(note, NOTE_ACTION);
    if (about.len) {
        note->about = about;
        shape_mark(note, NOTE_ABOUT);
    }
    if (detail.len) {
        note->detail = detail;
        shape_mark(note, NOTE_DETAIL);
    }
}

enum err audit_write(struct core *core, const struct audit_writer *writer, struct audit_note *note,
                     struct fault *fault) {
    struct command command;
    struct arena arena;
    arena_init(&arena, 0);
    enum err err = command_prepare(core, &audit_note_command, &arena, note, &command, fault);
    if (err == OK) {
        command.actor = writer->actor;
        command.from = writer->from;
        command.correlation = writer->correlation;
        if (writer->once.len) {
            command.idem_scope = STR("audit");
            command.idem_key = writer->once;
        }
        err = ask_core(core, &command, fault);
    }
    arena_free(&arena);
    return err;
}
