/* oracle: says whether a hub kept its word. The one judge of the simulator (which links it), the
 * kill -9 test and the load test (which ask the program penstock-oracle, main.c).
 *
 * It is told observations, each a JSON object of one member, in any order but that of events and
 * effects, which are in order of seq and of arrival:
 *
 *   {"sent": {"op": 1, "kind": "order", "key": "k1", "correlation": "c1", "target": "ord_…",
 *             "fact": false, "body": {…}}}        a request, once, before its first attempt
 *   {"answered": {"op": 1, "status": 201, "document": {…}}}   an attempt's end; status null: no
 *                                                 answer came, or one that leaves it open
 *   {"event": {CloudEvent}}                       the journal, or the feed; perhaps with
                                                 penstockcause: the seq it followed from
 *   {"order": {document}}                         as the list of orders shows it
 *   {"position": {"sku", "location", "on_hand", "held", "committed", "available"}}  at the end
 *   {"read": {the same, "seq": 12}}               as it was read when the journal was at seq
 *   {"booked": {"order_id", "total", "currency", "number"}}   a row of the ERP's books
 *   {"number": {"order_id", "number"}}            the ERP's number as the hub knows it
 *   {"subscription": {"name", "events": ["order.*"], "at_once"}}   what another system is to be told; perhaps
 *         with how many deliveries at once, at most
 *   {"effect": {"subscription", "seq", "lane", "asked", "replay"}}   what it did for an event; perhaps
 *         with the hub's seq when it was asked to, and true where a person asked for it once more
 *   {"set": {"subscription", "lane", "version", "available"}}   a value that another system was told
 *         of a position ("SKU@LOCATION"), where the newest alone counts
 *   {"held": {"subscription", "seq"}}             listed for a person
 *   {"decided": {"subscription", "seq", "action", "at"}}   a person was answered that what was held is
 *         retried or given up ("retry", "discard"), when the journal was at seq `at`; in the order of
 *         the answers
 *   {"ledger": {"subscription", "taken", "delivered", "discarded", "superseded", "listed",
 *               "waiting", "from", "to", "before", "again", "replayed"}}
 *         what the hub counts of a subscription; perhaps
 *         with: it had `before` listed at from, and took in what it wants of the events behind
 *         from and up to to, but for `again` of them, which it knew, and
 *         took `replayed` in once more
 *   {"bad": {"subscription", "at_most"}}         from here on all its deliveries are refused for good; it is to stop
 *         by itself after so many in a row at most, those under way included
 *   {"refused": {"subscription", "seq", "replay"}}, {"found": {"subscription"}}   one was; one was done before
 *   {"well": {"subscription"}}, {"started": {"subscription"}}   that is over; a person asked that it goes on
 *   {"fetcher": {"name", "events", "after"}}      a system that fetches its events, those behind `after`
 *   {"fetched": {"seq", "lane"}}, {"fetch_done": {"seq"}}, {"fetch_acked": {"seq"}}   one was handed out to
 *         it; it did the work; it was answered that its acknowledgement is known
 *   {"stored": {"stream", "place", "id", "key"}}  a broker stored a message for the hub, in the order of its
 *         books: of the stream "CONNECTOR/TOPIC", at a place of its own; id: empty where the sender says none
 *   {"consumed": {"stream", "place", "durable"}}  the hub acknowledged it, when its journal was at `durable`
 *   {"logged": {as effect, "id"}}                 a message of the hub was stored in a broker's log, on the
 *         subject `lane`: an effect, too
 *   {"hook_policy": {"patience_us"}}              a webhook of which nothing was taken for so long is to stop
 *   {"hook_call": {"hook", "id", "seq", "asked", "wall_us", "signed_us", "hash", "personal", "edited", "signed",
 *                  "signatures"}}                  one was sent to the address that ends so: its webhook-id and event,
 *         the hub's seq then, when it says that it was signed, of its body a hash and whether something personal and
 *         a person's edit is in it; the ids of those secrets that fit, and how many signatures there are
 *   {"hook_answer": {"hook", "status", "wall_us"}}, {"hook_applied": {"hook", "seq"}}   how it ended (0: no answer);
 *         the work was done there
 *   {"hook_said": {"what", "name", "version", "delivery"}}, {"hook_secret": {"id"}}   who has it was answered that this
 *         event is; that this secret counts
 *   {"hook_start": {"delivery"}}, {"hook_life": {}}   a person asks that it goes on; the hub, or delivery, begins anew
 *   {"hook_held": {"delivery", "seq"}}, {"hook_ledger": {"subscription", …, "loaded"}}   as held and ledger; counted
 *         since the journal was at seq `loaded`
 *   {"account": {"name", "calls", "per_ms", "burst", "concurrency", "quota", "after"}}   what another
 *         system takes of all calls together (0: any), and after how many in a row without a useful
 *         answer each endpoint of it is to be left alone
 *   {"call": {"id", "account", "endpoint", "at_us", "wall_us"}}   it is called: numbered from 1 on; when, by a
 *         clock that is never set, and by the hub's wall clock
 *   {"ended": {"id", "at_us", "end", "pause_ms"}}   "good": it was answered, "bad": not usefully, "nothing";
 *         perhaps with the pause that it asked for
 *   {"life": {"at_us"}}                           the hub starts: nothing of before is under way any more
 *   {"noted": {}}                                 its breakers are on disk as they are now
 *   {"end": {"source": "WH-HAM", "erp": "erp-orders", "quiet_us": 17…}}   once: where stock is
 *         taken from where an event does not say, the subscription that keeps the books (left
 *         out: none does), and the time of a moment when all was quiet (left out: what takes
 *         time is not judged)
 *
 * It keeps a model of its own, from the requests alone: of the hub's events it believes only which
 * request took effect, in which order, and where stock was taken from.
 *
 * How a request is tied to its effect: every request has a correlation id of its own, which
 * retries keep; the events of a command carry it. A command that took effect once has exactly one
 * primary event under that id (kinds[] in judge.c). Orders are tied by their natural key instead,
 * because the lines of a bulk share one correlation id.
 *
 * Always true: judging changes nothing that was observed.
 *
 * Rules, by the name that a violation carries:
 *   hole                 seq starts at 1 and has no holes; event ids are unique
 *   acknowledged-lost    what was acknowledged has its event
 *   doubled              nothing took effect twice, no natural key names two orders
 *   refused-stored       what was refused left no event
 *   invented             no order came from nowhere
 *   other-answer         every acknowledgement of one request names the same thing
 *   key-reused           one idempotency key never acknowledged two requests
 *   not-whole            an order is there with all its lines and its sum, or not at all
 *   version              an order's events count its versions 1, 2, 3 … in order of seq
 *   oversold             no request was promised stock that was not there
 *   stock                availability equals the model: on hand, held, committed, available
 *   conserved            availability equals the sum of all changes that stock events tell
 *   read                 availability as it was read is what the journal said at that seq
 *   timer                a hold ends by itself when its time is up, and not before
 *   payload              what a partner sent became something, or a person was asked
 *   erp-missing, erp-doubled, erp-invented, erp-total, erp-number
 *                        the ERP has each order once, with its sum; the hub knows its number
 *   money                all the hub captured equals all the ERP booked, per currency
 *   undelivered          every event a subscription wants had its effect, is held or was discarded
 *   conservation         what a subscription took in has ended or is still open, and it took in
 *                        every event that it wants, no other
 *   discarded-sent       what a person discarded was not sent after that, but where it was
 *                        asked for once more, or nobody was answered and another had it retried
 *   value-back           of a position it is never told an older value after a newer one
 *   value-stale          at rest, the last value that it was told of each position is the true one
 *   fetch-lost, fetch-again   who fetches has done each event at least once, and gets none again that it was
 *                        answered to have acknowledged
 *   fetch-order, fetch-invented   it gets an event when those of its key before it are done, and none from nowhere
 *   stream-lost          what the hub acknowledged to a broker was in its journal by then, as a payload or as a
 *                        case that names its place
 *   stream-unread        at rest, it acknowledged every message that was stored for it
 *   stream-twice, stream-order, stream-invented
 *                        each is there once, however often it came, and per key in the order of the books;
 *                        none is from nowhere
 *   log-twice, log-order a broker's log has a message once, and per subject in order of seq
 *   stopped-late         of a subscription whose deliveries are all refused no more end so than its policy says,
 *                        until a person starts it, or the hub starts
 *   stopped-sent         one that stands still, as the journal says, does no more than was under way
 *   hook-lost            what a webhook wanted from its event to the end had its effect, is held or was given up
 *   hook-invented        none is sent what none of its versions wanted since then, or before it was made
 *   hook-order           per key, they are sent for the first time in order of seq
 *   hook-removed, hook-stopped   nothing is sent once the journal says that it was removed; or stands still
 *   hook-gone, hook-dead nothing more after 410, or after nothing was taken for too long (but where the clock was set
 *                        back meanwhile), until somebody starts it
 *   hook-address, hook-personal   it goes where it is said to, with what is personal only where that was asked for
 *   hook-signature       signed with each secret that counts when it is signed, and no other
 *   hook-id, hook-bytes  one id for an event, whatever attempt it is; the same bytes under the same id
 *   hook-acknowledged    what somebody was told to be done stands in the journal
 *   account-rate         never more calls in any span than rate x span + burst (a start of the hub begins with one
 *                        call; an eighth of the pace, at most 5 ms, for timers that come late)
 *   account-concurrency, account-quota   never more at once, or in a day (where the clock is not set back)
 *   account-paused       no call before the end of a pause that was asked for
 *   probe-alone          who does not answer is called by one at a time until he does, over a crash too, where
 *                        it was noted
 *   breaker-told         the journal says in turn that an endpoint opened and closed; at rest, who
 *                        answered last is closed
 *   effect-doubled, effect-invented, lane-order
 *                        one effect for an event, none from nowhere, per lane in order of seq */
#ifndef PENSTOCK_TESTS_ORACLE_ORACLE_H
#define PENSTOCK_TESTS_ORACLE_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

struct oracle;
struct oracle *oracle_create(void);
void oracle_destroy(struct oracle *oracle);

/* One observation. False where it is none: *why says what is wrong. */
bool oracle_observe(struct oracle *oracle, struct str line, const char **why);

/* At most ORACLE_LISTED_MAX violations of each rule are told; answers how many there were. */
#define ORACLE_LISTED_MAX 50
typedef void oracle_tell(void *ctx, const char *rule, struct str text);
uint32_t oracle_judge(struct oracle *oracle, oracle_tell *tell, void *ctx);

#endif
