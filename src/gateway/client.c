/* client: see client.h. Pure. */
#include "gateway/client.h"

static bool is_trusted(const struct config *config, const struct inet_address *address) {
    for (uint32_t i = 0; i < config->proxy_count; i++)
        if (inet_net_holds(&config->proxies[i], address))
            return true;
    return false;
}

/* Takes the part behind the last comma off. */
static struct str last_part(struct str *rest) {
    size_t at = rest->len;
    struct str part;

    while (at > 0 && rest->ptr[at - 1] != ',')
        at--;
    part = str_trim(str_of(rest->ptr + at, rest->len - at));
    *rest = at > 0 ? str_of(rest->ptr, at - 1) : STR_NONE;
    return part;
}

/* The value of `for` in an element of Forwarded: for=192.0.2.60;proto=http, for="[2001:db8::1]" */
static struct str forwarded_for(struct str element) {
    while (element.ptr) {
        struct str value = str_cut(&element, ';'), name = str_cut(&value, '=');

        value = str_trim(value);
        if (!str_eq_nocase(str_trim(name), STR("for")))
            continue;
        if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
            value = str_of(value.ptr + 1, value.len - 2);
        return value;
    }
    return STR("");
}

/* Goes through one kind of header from the right. False where there was none. */
static bool chain_follow(const struct config *config, const struct http_request *request,
                         struct str name, bool forwarded, struct inet_address *address) {
    bool any = false;

    for (uint32_t i = request->header_count; i-- > 0;) {
        struct str rest = request->headers[i].value;

        if (!str_eq_nocase(request->headers[i].name, name))
            continue;
        any = true;
        while (rest.ptr && is_trusted(config, address)) {
            struct str part = last_part(&rest);
            struct inet_address next;

            if (!inet_parse(forwarded ? forwarded_for(part) : part, &next))
                return true; /* "unknown", "_hidden": nobody nearer to the caller is known */
            *address = next;
        }
    }
    return any;
}

struct inet_address client_address(const struct config *config, const struct http_request *request,
                                   struct inet_address peer) {
    struct inet_address address = peer;

    if (config->proxy_count > 0 && is_trusted(config, &address) &&
        !chain_follow(config, request, STR("Forwarded"), true, &address))
        (void)chain_follow(config, request, STR("X-Forwarded-For"), false, &address);
    return address;
}
