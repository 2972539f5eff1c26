/* journal_segments: the verbs of `penstock journal` that look after whole segments: list,
 * archive, restore, retain. All work beside a running hub. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/journal_priv.h"
#include "core/config.h"
#include "store/journal_archive.h"

#define DAY_US INT64_C(86400000000)

/* A journal whose segments may be looked at, and moved if `maintain`. */
static enum err segments_open(const char *data, bool maintain, struct journal **out,
                              struct fault *fault) {
    struct journal_sqlite_options options = {.read_only = true, .maintain = maintain};
    return journal_sqlite_open(data, &options, out, fault);
}

static void time_add(struct buf *out, int64_t us) {
    instant_write(out, (struct instant){.us = us});
}

/* --- list ---------------------------------------------------------------------------------- */

struct place { /* where a segment is */
    char path[PATH_MAX];
    uint64_t bytes;
};

static void segment_json(const struct segment *s, const struct place *place, struct buf *out) {
    buf_printf(out, "{\"segment\":%" PRIu64 ",\"state\":\"%s\",\"first_seq\":%" PRIu64, s->number,
               segment_state_name(s->state), s->first);
    if (s->last != UINT64_MAX)
        buf_printf(out, ",\"last_seq\":%" PRIu64, s->last);
    if (s->state >= SEGMENT_SEALED) {
        buf_lit(out, ",\"first_time\":\"");
        time_add(out, s->first_time_us);
        buf_lit(out, "\",\"last_time\":\"");
        time_add(out, s->last_time_us);
        buf_printf(out, "\",\"bytes\":%" PRIu64 ",\"sha256\":\"%s\"", s->bytes, s->sha256);
        if (s->before[0])
            buf_printf(out, ",\"before_sha256\":\"%s\"", s->before);
    }
    if (place->path[0]) {
        buf_lit(out, ",\"archive\":");
        buf_json_str(out, str_c(place->path));
        buf_printf(out, ",\"archive_bytes\":%" PRIu64, place->bytes);
    }
    buf_lit(out, "}\n");
}

static void segment_text(const struct segment *s, const struct place *place, struct buf *out) {
    char last[32] = "", bytes[32] = "", seqs[64];
    if (s->last != UINT64_MAX)
        snprintf(last, sizeof last, "%" PRIu64, s->last);
    snprintf(seqs, sizeof seqs, "%" PRIu64 " - %s", s->first, last);
    if (s->state >= SEGMENT_SEALED)
        snprintf(bytes, sizeof bytes, "%" PRIu64, s->bytes);
    buf_printf(out, "%08" PRIu64 "  %-8s  %-25s %12s", s->number, segment_state_name(s->state),
               seqs, bytes);
    if (s->state >= SEGMENT_SEALED) {
        buf_lit(out, "  ");
        time_add(out, s->first_time_us / 1000000 * 1000000);
        buf_lit(out, "  ");
        time_add(out, s->last_time_us / 1000000 * 1000000);
        buf_printf(out, "  %.16s", s->sha256);
    }
    if (place->path[0])
        buf_printf(out, "  %s", place->path);
    buf_char(out, '\n');
}

int journal_list_run(struct cli *cli, const char *data) {
    struct journal *journal;
    struct fault fault = {0};
    struct segment segment;
    struct buf out;
    enum err err = segments_open(data, false, &journal, &fault);
    if (err != OK)
        return cli_fault(cli, &fault);
    buf_init(&out, 0);
    if (!cli->json)
        buf_printf(&out, "%-8s  %-8s  %-25s %12s  %-20s  %-20s  %s\n", "segment", "state",
                   "records", "bytes", "from", "to", "sha256");
    for (uint32_t i = 0; err == OK && journal_sqlite_segment(journal, i, &segment); i++) {
        struct place place;
        err = journal_archive_place(journal, segment.number, place.path, sizeof place.path,
                                    &place.bytes, &fault);
        if (err == OK && cli->json)
            segment_json(&segment, &place, &out);
        else if (err == OK)
            segment_text(&segment, &place, &out);
    }
    journal_close(journal);
    int code = err == OK ? cli_print(cli, buf_str(&out)) : cli_fault(cli, &fault);
    buf_free(&out);
    return code;
}

/* --- which segments are meant --------------------------------------------------------------- */

/* --before: what lies wholly before a seq, a date or an instant; all where it is not given. */
struct before {
    uint64_t seq;
    int64_t time_us;
};
static bool before_parse(const struct cli *cli, struct before *out) {
    const char *text = cli_value(cli, "before");
    struct instant at;
    int32_t days;
    *out = (struct before){UINT64_MAX, INT64_MAX};
    if (!text || str_u64(str_c(text), &out->seq))
        return true;
    if (date_parse(str_c(text), &days))
        out->time_us = days * DAY_US;
    else if (instant_parse(str_c(text), &at))
        out->time_us = at.us;
    else
        return cli_fail(cli, EXIT_USAGE,
                        "--before takes a date (2026-01-31), an instant or a seq, not '%s'",
                        text) == EXIT_DONE;
    return true;
}
static bool before_holds(const struct before *before, const struct segment *segment) {
    return segment->last < before->seq && segment->last_time_us < before->time_us;
}

/* --- archive, restore ----------------------------------------------------------------------- */

struct moved {
    uint64_t segments, bytes, packed; /* as it is counted in the state after */
};

static void moved_print(const struct cli *cli, const char *verb, const struct moved *moved) {
    if (cli->json)
        printf("{\"segments\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"archive_bytes\":%" PRIu64 "}\n",
               moved->segments, moved->bytes, moved->packed);
    else if (moved->segments == 0)
        printf("nothing to be %s\n", verb);
    else
        printf("%" PRIu64 " segments %s: %" PRIu64 " bytes, %" PRIu64 " compressed\n",
               moved->segments, verb, moved->bytes, moved->packed);
}

static enum err one_archive(struct journal *journal, const struct segment *segment,
                            const char *folder, struct moved *moved, struct fault *fault) {
    char path[PATH_MAX];
    uint64_t bytes = 0;
    enum err err = journal_segment_archive(journal, segment, folder, NULL, fault);
    if (err == OK)
        err = journal_archive_place(journal, segment->number, path, sizeof path, &bytes, fault);
    moved->packed += bytes;
    return err;
}
static enum err one_restore(struct journal *journal, const struct segment *segment,
                            const char *folder, struct moved *moved, struct fault *fault) {
    char path[PATH_MAX];
    uint64_t bytes = 0;
    enum err err =
        journal_archive_place(journal, segment->number, path, sizeof path, &bytes, fault);
    moved->packed += bytes;
    return err == OK ? journal_segment_restore(journal, segment, folder, NULL, fault) : err;
}

static int segments_move(struct cli *cli, const char *data, enum segment_state state,
                         const char *folder, const char *verb,
                         enum err (*one)(struct journal *journal, const struct segment *segment,
                                         const char *folder, struct moved *moved,
                                         struct fault *fault)) {
    struct journal *journal;
    struct fault fault = {0};
    struct segment segment;
    struct before before;
    struct moved moved = {0};
    if (!before_parse(cli, &before))
        return EXIT_USAGE;
    enum err err = segments_open(data, true, &journal, &fault);
    if (err != OK)
        return cli_fault(cli, &fault);
    uint32_t count = journal_sqlite_segment_count(journal);
    struct progress progress = progress_of(verb, count);
    for (uint32_t i = 0; err == OK && i < count && journal_sqlite_segment(journal, i, &segment);
         i++) {
        if (segment.state != state || !before_holds(&before, &segment))
            continue;
        progress_tell(&progress, segment.number);
        err = one(journal, &segment, folder, &moved, &fault);
        moved.segments += err == OK;
        moved.bytes += err == OK ? segment.bytes : 0;
    }
    progress_end(&progress);
    journal_close(journal);
    if (err != OK && moved.segments > 0)
        moved_print(cli, verb, &moved);
    if (err != OK)
        return cli_fault(cli, &fault);
    moved_print(cli, verb, &moved);
    return EXIT_DONE;
}

int journal_archive_run(struct cli *cli, const char *data) {
    return segments_move(cli, data, SEGMENT_SEALED, cli_value(cli, "to"), "archived", one_archive);
}
int journal_restore_run(struct cli *cli, const char *data) {
    return segments_move(cli, data, SEGMENT_ARCHIVED, cli_value(cli, "from"), "restored",
                         one_restore);
}

/* --- retain --------------------------------------------------------------------------------- */

/* The first instant at which a record of that time need not be kept any longer. The time to keep
 * begins with the end of the calendar year (in Germany HGB § 257 (5), AO § 147 (4)). */
static int64_t kept_until_us(int64_t time_us, int64_t keep_days) {
    struct buf text;
    int32_t year_end = 0;
    int64_t days = time_us / DAY_US - (time_us % DAY_US < 0);
    buf_init(&text, 64);
    date_write(&text, (int32_t)days);
    uint64_t year = 0;
    bool read = buf_ok(&text) && str_u64(str_of(text.data, 4), &year);
    buf_clear(&text);
    buf_printf(&text, "%04" PRIu64 "-01-01", year + 1);
    read = read && date_parse(buf_str(&text), &year_end);
    buf_free(&text);
    return read ? (year_end + keep_days) * DAY_US : INT64_MAX;
}

struct retain {
    struct journal *journal;
    int64_t now_us, keep_days;
    uint64_t floor;
    struct before before;
    bool really;
    uint64_t segments, bytes, last;
    const char *stopped; /* why the next one stays */
};

/* Oldest first, up to the first that must stay: the chain never gets a gap. */
static enum err retain_all(struct retain *r, struct fault *fault) {
    struct segment segment;
    for (uint32_t i = 0; journal_sqlite_segment(r->journal, i, &segment); i++) {
        if (segment.state == SEGMENT_REMOVED)
            continue;
        if (segment.state != SEGMENT_SEALED && segment.state != SEGMENT_ARCHIVED)
            r->stopped = "it is not sealed";
        else if (!before_holds(&r->before, &segment))
            r->stopped = "it is not before what --before says";
        else if (r->keep_days == 0)
            r->stopped = "journal_keep_days is 0: for ever";
        else if (r->now_us < kept_until_us(segment.last_time_us, r->keep_days))
            r->stopped = "journal_keep_days after the end of its year are not over";
        else if (r->floor == 0)
            r->stopped = "the hub has not yet told from which record on it needs them all";
        else if (segment.last >= r->floor)
            r->stopped = "the hub still needs records of it";
        if (r->stopped)
            return OK;
        enum err err = r->really ? journal_segment_remove(r->journal, &segment, fault) : OK;
        if (err != OK)
            return err;
        r->segments++;
        r->bytes += segment.bytes;
        r->last = segment.last;
    }
    return OK;
}

static void retain_print(const struct cli *cli, const struct retain *r) {
    const char *stopped = r->stopped ? r->stopped : "";
    if (cli->json) {
        printf("{\"removed\":%s,\"segments\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"last_seq\":%" PRIu64 ",\"next_stays\":\"%s\"}\n",
               r->really ? "true" : "false", r->segments, r->bytes, r->last, stopped);
        return;
    }
    if (r->segments > 0)
        printf("%" PRIu64 " segments %s (%" PRIu64 " bytes, records up to %" PRIu64 ")%s\n",
               r->segments, r->really ? "removed" : "could be removed", r->bytes, r->last,
               r->really ? "" : "; --remove does it");
    else
        printf("nothing can be removed\n");
    printf("the next one stays: %s\n", stopped);
}

int journal_retain_run(struct cli *cli, const char *data) {
    const char *dir = cli_value(cli, "config");
    struct config *config;
    struct fault fault;
    fault_init(&fault, &cli->arena);
    struct retain r = {.now_us = clock_now_us(&clock_system), .really = cli_flag(cli, "remove")};
    if (!dir)
        return cli_fail(cli, EXIT_USAGE, "which configuration? -C DIR");
    if (!before_parse(cli, &r.before))
        return EXIT_USAGE;
    if (config_load(dir, &config, &fault) != OK)
        return cli_fault(cli, &fault);
    r.keep_days = config->settings.journal_keep_days;
    config_destroy(config);
    enum err err = segments_open(data, true, &r.journal, &fault);
    if (err == OK)
        err = journal_floor_read(r.journal, &r.floor, &fault);
    if (err == OK)
        err = retain_all(&r, &fault);
    journal_close(r.journal);
    if (err != OK)
        return cli_fault(cli, &fault);
    retain_print(cli, &r);
    return EXIT_DONE;
}
