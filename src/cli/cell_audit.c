/* cell_audit: see cell_audit.h. */
#include "cli/cell_audit.h"

#include <dirent.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "base/files.h"
#include "ops/audit_write.h"

#define FILES_MAX 100000
#define FILE_BYTES_MAX ((size_t)512 << 20)
#define DEPTH_MAX 16

/* --- the configuration ---------------------------------------------------------------------- */

struct hashing {
    EVP_MD_CTX *evp;
    const char *data; /* the data folder, as it really is: passed over */
    uint32_t files;
    struct fault *fault;
};

static void hash_text(struct hashing *h, struct str text) {
    uint64_t len = text.len;
    must(EVP_DigestUpdate(h->evp, &len, sizeof len) == 1 &&
         EVP_DigestUpdate(h->evp, text.ptr ? text.ptr : "", text.len) == 1);
}

static enum err folder_hash(struct hashing *h, const char *path, int depth);

static enum err entry_hash(struct hashing *h, const char *folder, const char *name, int depth) {
    char path[PATH_MAX], real[PATH_MAX];
    struct stat info;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return fault_set(h->fault, ERR_IO, "the path is too long");
    if (stat(path, &info) != 0 || (realpath(path, real) && strcmp(real, h->data) == 0))
        return OK; /* gone meanwhile; or the data folder */
    if (S_ISDIR(info.st_mode))
        return depth < DEPTH_MAX ? folder_hash(h, path, depth + 1) : OK;
    if (!S_ISREG(info.st_mode))
        return OK;
    if (h->files++ == FILES_MAX)
        return fault_set(h->fault, ERR_TOO_LARGE, "there are more than %d files", FILES_MAX);
    struct buf text;
    buf_init(&text, FILE_BYTES_MAX);
    enum err err = files_read(path, &text, h->fault);
    if (err == OK) {
        hash_text(h, str_c(name));
        hash_text(h, buf_str(&text));
    }
    buf_free(&text);
    return err;
}

static int name_order(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* What is in a folder, sorted; hidden entries are left out. */
static enum err names_read(const char *path, struct arena *arena, struct str **names, uint32_t *count,
                           struct fault *fault) {
    DIR *folder = opendir(path);
    const struct dirent *entry;
    uint32_t cap = 0;
    if (!folder)
        return fault_set(fault, ERR_IO, "can not read %.200s", path);
    enum err err = OK;
    while (err == OK && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        struct str name = arena_str(arena, str_of(entry->d_name, strlen(entry->d_name) + 1));
        if (!name.ptr || *count == FILES_MAX || !MEM_ROOM(*names, *count, cap, 64))
            err = fault_set(fault, ERR_NOMEM, "no memory to read %.200s", path);
        else
            (*names)[(*count)++] = name;
    }
    closedir(folder);
    if (*count > 1)
        qsort(*names, *count, sizeof **names, name_order);
    return err;
}

static enum err folder_hash(struct hashing *h, const char *path, int depth) {
    struct str *names = NULL;
    struct arena arena;
    uint32_t count = 0;
    arena_init(&arena, 0);
    enum err err = names_read(path, &arena, &names, &count, h->fault);
    for (uint32_t i = 0; err == OK && i < count; i++)
        err = entry_hash(h, path, names[i].ptr, depth);
    mem_free(names);
    arena_free(&arena);
    return err;
}

enum err config_hash(const struct config *config, const char *data, char out[CONFIG_HASH_TEXT],
                     struct fault *fault) {
    char dir[PATH_MAX], real[PATH_MAX];
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    struct hashing h = {.data = realpath(data, real) ? real : data, .fault = fault};
    snprintf(dir, sizeof dir, "%.*s", STR_FMT(config->dir));
    h.evp = EVP_MD_CTX_new();
    if (!h.evp || EVP_DigestInit_ex(h.evp, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(h.evp);
        return fault_set(fault, ERR_NOMEM, "no memory to hash the configuration");
    }
    enum err err = folder_hash(&h, dir, 0);
    hash_text(&h, str_of((const char *)&config->settings, sizeof config->settings));
    must(EVP_DigestFinal_ex(h.evp, bytes, &len) == 1 && len == 32);
    EVP_MD_CTX_free(h.evp);
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return err;
}

/* --- the hub's own -------------------------------------------------------------------------- */

enum err cell_audit_started(struct core *core, const char *data, const char *url,
                            struct fault *fault) {
    char hash[CONFIG_HASH_TEXT], detail[400];
    struct audit_note note;
    struct audit_writer writer = {.actor = STR("hub")};
    enum err err = config_hash(core_config(core), data, hash, fault);
    if (err != OK)
        return err;
    snprintf(detail, sizeof detail, "penstock %s at %s, configuration sha256 %s", PENSTOCK_VERSION,
             url, hash);
    audit_note_make(&note, AUDIT_ADMIN, STR("hub.started"), STR_NONE, str_c(detail));
    return audit_write(core, &writer, &note, fault);
}

void cell_audit_stopped(struct core *core) {
    struct audit_note note;
    struct audit_writer writer = {.actor = STR("hub")};
    struct fault fault = {0};
    audit_note_make(&note, AUDIT_ADMIN, STR("hub.stopped"), STR_NONE, STR_NONE);
    if (audit_write(core, &writer, &note, &fault) != OK)
        log_line(LOG_WARN, "cli", "the audit could not be told of the stop", "detail=%s",
                 log_quote(str_c(fault.detail)));
}

enum err cell_audit_notes(struct core *core, struct key_notes *notes, struct fault *fault) {
    struct arena arena;
    bool any = true;
    enum err err = OK;
    arena_init(&arena, 0);
    while (err == OK && any) {
        struct key_note left;
        struct audit_note note;
        arena_reset(&arena);
        err = key_notes_next(notes, &arena, &left, &any, fault);
        if (err != OK || !any)
            break;
        struct audit_writer writer = {.actor = left.actor, .once = left.id};
        audit_note_make(&note, AUDIT_ADMIN, left.action, left.about, left.detail);
        note.first_at.us = left.at_us;
        shape_mark(&note, NOTE_FIRST_AT);
        err = audit_write(core, &writer, &note, fault);
        if (err == OK)
            err = key_notes_done(notes, left.id, fault);
    }
    arena_free(&arena);
    return err;
}

/* --- commands ------------------------------------------------------------------------------- */

int cell_audit_leave(struct cli *cli, const char *data, const char *action, const char *about) {
    char path[PATH_MAX];
    struct key_notes *notes;
    struct fault fault;
    fault_init(&fault, &cli->arena);
    if (snprintf(path, sizeof path, "%s/keys.db", data) >= (int)sizeof path)
        return cli_fail(cli, EXIT_FAILED, "the path is too long");
    if (access(data, F_OK) != 0)
        return EXIT_DONE; /* nothing is there that anything could be done to */
    enum err err = key_notes_open(path, &notes, &fault);
    if (err == OK) {
        err = key_notes_add(notes, &clock_system, str_c(action), str_c(about), STR_NONE, &fault);
        key_notes_close(notes);
    }
    return err == OK ? EXIT_DONE : cli_fault(cli, &fault);
}
