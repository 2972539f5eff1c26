/* nats_link: see nats_link.h. Owns the connection, its thread, what is to be published and what was
 * replied. It is freed when its thread has ended and the library's last callback has returned. */
#include "connect/nats_link.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "connect/nats_options.h"

#define LOOK_MS INT64_C(200) /* how soon a lost connection is noticed while somebody waits for replies */

struct item {
    struct item *next;
    natsMsg *message;
    uint64_t token;
};

struct nats_link {
    natsOptions *options;
    void (*wake)(void *ctx);
    void *wake_ctx;
    char prefix[64]; /* of reply subjects, with a dot at its end */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct item *first, *last;              /* to be published; under the lock, as the rest */
    struct nats_reply *replies, *newest;
    bool closing;
    atomic_uint users; /* the owner, and each subscription whose callbacks may still run */
    /* of the thread alone */
    natsConnection *connection;
    natsSubscription *inbox;
    uint64_t published; /* the highest token that was; 0: none on this connection */
};

static void link_release(struct nats_link *link) {
    if (atomic_fetch_sub(&link->users, 1) > 1)
        return;
    while (link->replies) {
        struct nats_reply *next = link->replies->next;
        mem_free(link->replies);
        link->replies = next;
    }
    natsOptions_Destroy(link->options);
    pthread_cond_destroy(&link->ready);
    pthread_mutex_destroy(&link->lock);
    mem_free(link);
}

void nats_link_inbox(const struct nats_link *link, uint64_t token, char out[NATS_INBOX_BYTES]) {
    snprintf(out, NATS_INBOX_BYTES, "%s%llu", link->prefix, (unsigned long long)token);
}

/* --- replies ------------------------------------------------------------------------------- */

static void reply_add(struct nats_link *link, enum nats_reply_kind kind, uint64_t token, natsStatus status,
                      struct str text) {
    struct nats_reply *reply = mem_alloc(sizeof *reply + text.len + 1);
    if (!reply)
        return; /* its request's time will be up */
    char *copy = (char *)(reply + 1);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    *reply = (struct nats_reply){.kind = kind, .token = token, .status = status,
                                 .text = str_of(copy, text.len)};
    pthread_mutex_lock(&link->lock);
    bool tell = !link->closing;
    if (link->replies)
        link->newest->next = reply;
    else
        link->replies = reply;
    link->newest = reply;
    if (tell)
        link->wake(link->wake_ctx); /* under the lock: who closes it waits for this */
    pthread_mutex_unlock(&link->lock);
}

struct nats_reply *nats_link_take(struct nats_link *link) {
    pthread_mutex_lock(&link->lock);
    struct nats_reply *first = link->replies;
    link->replies = link->newest = NULL;
    pthread_mutex_unlock(&link->lock);
    return first;
}

static void replied(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    struct nats_link *link = closure;
    const char *subject = natsMsg_GetSubject(msg);
    uint64_t token = 0;
    if (subject && strlen(subject) > strlen(link->prefix) &&
        str_u64(str_c(subject + strlen(link->prefix)), &token)) {
        int len = natsMsg_GetDataLength(msg);
        reply_add(link, natsMsg_IsNoResponders(msg) ? NATS_NOBODY : NATS_REPLY, token, NATS_OK,
                  len > 0 ? str_of(natsMsg_GetData(msg), (size_t)len) : STR(""));
    }
    natsMsg_Destroy(msg);
}

static void callbacks_over(void *closure) { link_release(closure); }

/* --- the connection ------------------------------------------------------------------------ */

static natsStatus link_connect(struct nats_link *link) {
    char subject[80];
    natsStatus s = natsConnection_Connect(&link->connection, link->options);
    if (s != NATS_OK)
        return s;
    snprintf(subject, sizeof subject, "%s*", link->prefix);
    s = natsConnection_Subscribe(&link->inbox, link->connection, subject, replied, link);
    if (s == NATS_OK) {
        atomic_fetch_add(&link->users, 1);
        s = natsSubscription_SetOnCompleteCB(link->inbox, callbacks_over, link);
        must(s == NATS_OK); /* it was made a moment ago, and has not ended */
        s = natsSubscription_SetPendingLimits(link->inbox, -1, -1); /* one for each request: bounded there */
    }
    return s;
}

static void link_disconnect(struct nats_link *link) {
    uint64_t published = link->published;
    natsConnection_Close(link->connection);
    natsSubscription_Destroy(link->inbox);
    natsConnection_Destroy(link->connection);
    link->inbox = NULL;
    link->connection = NULL;
    link->published = 0;
    if (published)
        reply_add(link, NATS_LOST, published, NATS_CONNECTION_CLOSED, STR(""));
}

static bool link_lost(const struct nats_link *link) {
    return link->connection && natsConnection_IsClosed(link->connection);
}

/* --- publishing ---------------------------------------------------------------------------- */

static void item_publish(struct nats_link *link, struct item *item) {
    natsStatus s = NATS_OK;
    if (link_lost(link))
        link_disconnect(link);
    if (!link->connection)
        s = link_connect(link);
    bool connected = s == NATS_OK;
    if (connected)
        s = natsConnection_PublishMsg(link->connection, item->message);
    char text[NATS_WORDS_MAX];
    struct str words = s == NATS_OK ? STR("") : nats_failed(s, text);
    if (!connected)
        link_disconnect(link);
    /* what failed while it was written may be there in part or whole: so says the lost connection */
    if (connected && (s == NATS_OK || s == NATS_IO_ERROR || s == NATS_TIMEOUT || s == NATS_SSL_ERROR))
        link->published = item->token;
    else
        reply_add(link, NATS_UNSENT, item->token, s, words);
    natsMsg_Destroy(item->message);
    mem_free(item);
}

static struct item *item_next(struct nats_link *link, bool *closing) {
    struct timespec until;
    pthread_mutex_lock(&link->lock);
    if (!link->first && !link->closing) {
        int64_t us = clock_tick_us(&clock_system) + (link->published ? LOOK_MS : 10 * LOOK_MS) * 1000;
        until = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
        pthread_cond_timedwait(&link->ready, &link->lock, &until);
    }
    struct item *item = link->closing ? NULL : link->first;
    if (item)
        link->first = item->next;
    *closing = link->closing;
    pthread_mutex_unlock(&link->lock);
    return item;
}

static void *link_thread(void *arg) {
    pthread_setname_np(pthread_self(), "nats-out");
    struct nats_link *link = arg;
    bool closing = false;
    while (!closing) {
        struct item *item = item_next(link, &closing);
        if (item)
            item_publish(link, item);
        else if (link_lost(link))
            link_disconnect(link);
    }
    link_disconnect(link);
    nats_ReleaseThreadMemory();
    return NULL;
}

bool nats_link_put(struct nats_link *link, natsMsg *message, uint64_t token) {
    struct item *item = mem_alloc(sizeof *item);
    if (!item) {
        natsMsg_Destroy(message);
        return false;
    }
    *item = (struct item){.message = message, .token = token};
    pthread_mutex_lock(&link->lock);
    if (link->first)
        link->last->next = item;
    else
        link->first = item;
    link->last = item;
    pthread_cond_signal(&link->ready);
    pthread_mutex_unlock(&link->lock);
    return true;
}

bool nats_link_withdraw(struct nats_link *link, uint64_t token) {
    struct item *found = NULL, *before = NULL;
    pthread_mutex_lock(&link->lock);
    for (struct item *item = link->first; item && !found; item = item->next) {
        if (item->token == token)
            found = item;
        else
            before = item;
    }
    if (found && before)
        before->next = found->next;
    else if (found)
        link->first = found->next;
    if (found && link->last == found)
        link->last = before;
    pthread_mutex_unlock(&link->lock);
    if (found) {
        natsMsg_Destroy(found->message);
        mem_free(found);
    }
    return found != NULL;
}

/* --- its life ------------------------------------------------------------------------------ */

struct nats_link *nats_link_create(const struct nats_link_options *options) {
    struct nats_link *link = mem_zalloc(sizeof *link);
    natsInbox *unique = NULL;
    if (!link || natsInbox_Create(&unique) != NATS_OK) {
        natsOptions_Destroy(options->options);
        mem_free(link);
        return NULL;
    }
    snprintf(link->prefix, sizeof link->prefix, "%s.", unique);
    natsInbox_Destroy(unique);
    link->options = options->options;
    link->wake = options->wake;
    link->wake_ctx = options->wake_ctx;
    atomic_init(&link->users, 1);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&link->lock, NULL);
    pthread_cond_init(&link->ready, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&link->thread, NULL, link_thread, link) != 0) {
        link_release(link);
        return NULL;
    }
    return link;
}

void nats_link_close(struct nats_link *link) {
    pthread_mutex_lock(&link->lock);
    link->closing = true;
    pthread_cond_signal(&link->ready);
    pthread_mutex_unlock(&link->lock);
    pthread_join(link->thread, NULL);
    while (link->first) {
        struct item *next = link->first->next;
        natsMsg_Destroy(link->first->message);
        mem_free(link->first);
        link->first = next;
    }
    link_release(link);
}
