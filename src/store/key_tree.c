/* key_tree: see key_tree.h. Owns one digest context per thread. */
#include "store/key_tree.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#include "base/err.h"

static pthread_once_t digest_once = PTHREAD_ONCE_INIT;
static pthread_key_t digest_key;
static EVP_MD *digest;

static void context_free(void *ctx) { EVP_MD_CTX_free(ctx); }

static void digest_make(void) {
    digest = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(digest && pthread_key_create(&digest_key, context_free) == 0);
}

static EVP_MD_CTX *context(void) {
    pthread_once(&digest_once, digest_make);
    EVP_MD_CTX *ctx = pthread_getspecific(digest_key);
    if (!ctx) {
        ctx = EVP_MD_CTX_new();
        if (ctx && pthread_setspecific(digest_key, ctx) != 0) {
            EVP_MD_CTX_free(ctx);
            ctx = NULL;
        }
    }
    return ctx;
}

/* SHA-256 of the node and which child it is: 48 bytes, one block of the hash. */
static bool child_make(const uint8_t node[KEY_NODE_BYTES], uint32_t right,
                       uint8_t out[KEY_NODE_BYTES]) {
    uint8_t text[KEY_NODE_BYTES + 16];
    EVP_MD_CTX *ctx = context();
    memcpy(text, node, KEY_NODE_BYTES);
    memcpy(text + KEY_NODE_BYTES, right ? "penstock key  R" : "penstock key  L", 16);
    bool good = ctx && EVP_DigestInit_ex(ctx, digest, NULL) == 1 &&
                EVP_DigestUpdate(ctx, text, sizeof text) == 1 &&
                EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    OPENSSL_cleanse(text, sizeof text);
    return good;
}

bool key_tree_leaf(const struct key_node *above, uint32_t leaf, uint8_t key[KEY_NODE_BYTES]) {
    must(leaf < KEY_TREE_LEAVES && key_tree_index(leaf, above->level) == above->index);
    bool good = true;
    memcpy(key, above->bytes, KEY_NODE_BYTES);
    for (uint32_t level = above->level + 1; good && level <= KEY_TREE_LEVELS; level++)
        good = child_make(key, key_tree_index(leaf, level) & 1, key);
    return good;
}

bool key_tree_punch(const struct key_node *above, uint32_t leaf,
                    struct key_node out[KEY_TREE_LEVELS], uint32_t *count) {
    uint8_t node[KEY_NODE_BYTES];
    must(leaf < KEY_TREE_LEAVES && key_tree_index(leaf, above->level) == above->index);
    memcpy(node, above->bytes, sizeof node);
    *count = 0;
    bool good = true;
    for (uint32_t level = above->level + 1; good && level <= KEY_TREE_LEVELS; level++) {
        uint32_t on = key_tree_index(leaf, level);
        struct key_node *stays = &out[(*count)++];
        *stays = (struct key_node){.level = level, .index = on ^ 1};
        good = child_make(node, (on ^ 1) & 1, stays->bytes) && child_make(node, on & 1, node);
    }
    OPENSSL_cleanse(node, sizeof node);
    return good;
}

void key_walk_begin(struct key_walk *walk, const uint8_t root[KEY_NODE_BYTES]) {
    walk->next = 0;
    memcpy(walk->path[0], root, KEY_NODE_BYTES);
}

bool key_walk_next(struct key_walk *walk, uint8_t key[KEY_NODE_BYTES]) {
    uint32_t leaf = walk->next;
    if (leaf >= KEY_TREE_LEAVES)
        return false;
    /* What changed against the leaf before lies below the lowest node they share. */
    uint32_t same = leaf ? (uint32_t)__builtin_clz(leaf ^ (leaf - 1)) - (32 - KEY_TREE_LEVELS) : 0;
    for (uint32_t level = same + 1; level <= KEY_TREE_LEVELS; level++)
        if (!child_make(walk->path[level - 1], key_tree_index(leaf, level) & 1,
                        walk->path[level]))
            return false;
    memcpy(key, walk->path[KEY_TREE_LEVELS], KEY_NODE_BYTES);
    walk->next = leaf + 1;
    return true;
}
