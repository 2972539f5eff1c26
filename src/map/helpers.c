/* helpers: what a mapping of the trade needs and Lua does not have: exact money and decimals,
 * instants, and a way to fail with a sentence. All pure. */
#include "map/map_priv.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/decimal.h"
#include "base/encode.h"
#include "retail/money.h"

#define NUMBER_BYTES_MAX 128

/* An argument that is a number in text or an integer, as text in `room`. */
static struct str number_arg(lua_State *L, int index, char room[NUMBER_BYTES_MAX],
                             const char *what) {
    if (lua_isinteger(L, index)) {
        int n = snprintf(room, NUMBER_BYTES_MAX, "%lld", (long long)lua_tointeger(L, index));
        return str_of(room, (size_t)n);
    }
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "%s: expected a number as text, got %s", what, luaL_typename(L, index));
    struct str s;
    s.ptr = lua_tolstring(L, index, &s.len);
    if (s.len >= NUMBER_BYTES_MAX)
        luaL_error(L, "%s: the number has too many digits", what);
    return s;
}

static void push_buf(lua_State *L, const char *data, size_t len) { lua_pushlstring(L, data, len); }

/* A struct buf over fixed room, so that nothing is held when an error unwinds. */
static struct buf fixed_buf(char *room, size_t size) {
    return (struct buf){.data = room, .cap = size, .max = size};
}

static struct str text_arg(lua_State *L, int index, const char *what) {
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "%s: expected a text, got %s", what, luaL_typename(L, index));
    struct str s;
    s.ptr = lua_tolstring(L, index, &s.len);
    return s;
}

/* money("19.99", "EUR") → 1999: minor units (ISO 4217), exact or an error. */
static int map_money(lua_State *L) {
    if (call_begin(L, "money", CALL_INTEGER, 1))
        return 1;
    char room[NUMBER_BYTES_MAX];
    struct str amount = number_arg(L, 1, room, "money");
    struct str currency = text_arg(L, 2, "money");
    int64_t minor;
    if (!money_parse(amount, currency, &minor)) {
        if (currency_decimals(currency) < 0)
            return luaL_error(L, "money: \"%s\" is no currency of ISO 4217", currency.ptr);
        return luaL_error(L, "money: \"%s\" is no exact amount of %s",
                          lua_pushlstring(L, amount.ptr, amount.len), currency.ptr);
    }
    lua_pushinteger(L, minor);
    return call_end(L);
}

/* money_text(1999, "EUR") → "19.99". */
static int map_money_text(lua_State *L) {
    if (call_begin(L, "money_text", CALL_TEXT, 1))
        return 1;
    if (!lua_isinteger(L, 1))
        return luaL_error(L, "money_text: expected minor units, got %s", luaL_typename(L, 1));
    struct str currency = text_arg(L, 2, "money_text");
    if (currency_decimals(currency) < 0)
        return luaL_error(L, "money_text: \"%s\" is no currency of ISO 4217", currency.ptr);
    char room[64];
    struct buf out = fixed_buf(room, sizeof room);
    money_write(&out, lua_tointeger(L, 1), currency);
    push_buf(L, out.data, out.len);
    return call_end(L);
}

/* text with at most `places` decimals kept, rounded half away from zero, as a scaled integer. */
static bool decimal_round(struct str text, int places, int64_t *out) {
    if (decimal_parse_number(text, places, out))
        return true;
    const char *dot = memchr(text.ptr, '.', text.len);
    size_t keep = dot ? (size_t)(dot - text.ptr) + 1 + (size_t)places : text.len;
    if (!dot || keep >= text.len)
        return false;
    for (size_t i = keep; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    }
    struct str cut = str_of(text.ptr, places ? keep : keep - 1);
    if (!decimal_parse_number(cut, places, out))
        return false;
    if (text.ptr[keep] >= '5')
        return decimal_add(*out, text.ptr[0] == '-' ? -1 : 1, out);
    return true;
}

/* decimal("1.50") → "1.5": canonical text, up to 9 decimals exactly; decimal(x, places) rounds
 * half away from zero. */
static int map_decimal(lua_State *L) {
    if (call_begin(L, "decimal", CALL_TEXT, 1))
        return 1;
    char room[NUMBER_BYTES_MAX];
    struct str text = number_arg(L, 1, room, "decimal");
    bool rounds = !lua_isnoneornil(L, 2);
    lua_Integer places = luaL_optinteger(L, 2, RATE_SCALE);
    luaL_argcheck(L, places >= 0 && places <= RATE_SCALE, 2, "0 to 9 decimals");
    int64_t value;
    bool good = rounds ? decimal_round(text, (int)places, &value)
                       : decimal_parse_number(text, (int)places, &value);
    if (!good)
        return luaL_error(L, "decimal: \"%s\" is no number with at most %d decimals",
                          lua_pushlstring(L, text.ptr, text.len), (int)places);
    char digits[64];
    struct buf out = fixed_buf(digits, sizeof digits);
    decimal_write(&out, value, (int)places);
    push_buf(L, out.data, out.len);
    return call_end(L);
}

/* mul_div(a, b, c): a × b ÷ c of integers in 128 bits, rounded half away from zero. */
static int map_mul_div(lua_State *L) {
    if (call_begin(L, "mul_div", CALL_INTEGER, 1))
        return 1;
    lua_Integer a = luaL_checkinteger(L, 1), b = luaL_checkinteger(L, 2);
    lua_Integer c = luaL_checkinteger(L, 3);
    int64_t out;
    if (c <= 0 || !decimal_mul_div(a, b, c, ROUND_HALF_UP, &out))
        return luaL_error(L, "mul_div: the divisor must be above 0 and the result fit 64 bits");
    lua_pushinteger(L, out);
    return call_end(L);
}

/* instant("2026-11-23T09:15:00+01:00") → the same instant in canonical form; a second argument
 * ("Z", "+01:00") stands in where the text has no offset. */
static int map_instant(lua_State *L) {
    if (call_begin(L, "instant", CALL_INSTANT, 1))
        return 1;
    struct str text = text_arg(L, 1, "instant");
    struct instant at;
    bool good = instant_parse(text, &at);
    if (!good && !lua_isnoneornil(L, 2)) {
        struct str offset = text_arg(L, 2, "instant");
        char joined[64];
        if (text.len + offset.len < sizeof joined) {
            memcpy(joined, text.ptr, text.len);
            memcpy(joined + text.len, offset.ptr, offset.len);
            if (text.len > 10 && joined[10] == ' ')
                joined[10] = 'T';
            good = instant_parse(str_of(joined, text.len + offset.len), &at);
        }
    }
    if (!good)
        return luaL_error(L, "instant: \"%s\" is no RFC 3339 date and time with offset", text.ptr);
    char room[64];
    struct buf out = fixed_buf(room, sizeof room);
    instant_write(&out, at);
    push_buf(L, out.data, out.len);
    return call_end(L);
}

/* number("1.5"): a JSON number with exactly these digits, for systems that take no text. It can
 * only stand in the answer: nothing is ever computed with it. */
static int map_number(lua_State *L) {
    if (call_begin(L, "number", CALL_TEXT, 1))
        return 1;
    char room[NUMBER_BYTES_MAX], digits[64];
    struct str text = number_arg(L, 1, room, "number");
    int64_t value;
    if (!decimal_parse_number(text, RATE_SCALE, &value))
        return luaL_error(L, "number: \"%s\" is no number with at most %d decimals",
                          lua_pushlstring(L, text.ptr, text.len), RATE_SCALE);
    struct buf out = fixed_buf(digits, sizeof digits);
    decimal_write(&out, value, RATE_SCALE);
    struct sandbox *sb = sandbox_of(L);
    call_inside(L, "number");
    struct json *node = arena_new(sb->arena, struct json);
    struct str kept = arena_str(sb->arena, str_of(out.data, out.len));
    if (!node || !kept.ptr) {
        sb->nomem = true;
        return luaL_error(L, "no memory for the answer");
    }
    *node = (struct json){kept, 0, 1, JSON_NUMBER};
    struct ref *ref = lua_newuserdatauv(L, sizeof *ref, 0);
    ref->node = node;
    return call_end(L);
}

/* base64("user:1:token") → "dXNlcjoxOnRva2Vu" (RFC 4648, section 4). */
static int map_base64(lua_State *L) {
    if (call_begin(L, "base64", CALL_TEXT, 1))
        return 1;
    struct str text = text_arg(L, 1, "base64");
    luaL_Buffer out;
    size_t len = base64_len(text.len);
    sandbox_charge(L, (int64_t)(len / 16) + 1);
    base64_put(luaL_buffinitsize(L, &out, len), text);
    luaL_pushresultsize(&out, len);
    return call_end(L);
}

/* filled("  x ") → "x": without space at the ends, nil where nothing is left, or nothing was there. */
static int map_filled(lua_State *L) {
    if (lua_isnoneornil(L, 1))
        return 0;
    struct str text = text_arg(L, 1, "filled"), trimmed = str_trim(text);
    sandbox_charge(L, (int64_t)(text.len / 16));
    if (trimmed.len == 0)
        return 0;
    push_buf(L, trimmed.ptr, trimmed.len);
    return 1;
}

/* code_of("VAT 19%") → "VAT-19", code_of("Bank transfer", true) → "bank_transfer": ASCII letters and
 * digits, what is between them as one dash (underscore); nil where nothing is left. */
static int map_code_of(lua_State *L) {
    if (lua_isnoneornil(L, 1))
        return 0;
    struct str text = text_arg(L, 1, "code_of");
    bool lower = lua_toboolean(L, 2), gap = false;
    luaL_Buffer out;
    sandbox_charge(L, (int64_t)(text.len / 4) + 1);
    char *to = luaL_buffinitsize(L, &out, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool small = c >= 'a' && c <= 'z', large = c >= 'A' && c <= 'Z';
        if (!small && !large && !(c >= '0' && c <= '9')) {
            gap = len > 0;
            continue;
        }
        if (gap)
            to[len++] = lower ? '_' : '-';
        gap = false;
        to[len++] = (char)(small && !lower ? c - 'a' + 'A' : large && lower ? c - 'A' + 'a' : c);
    }
    luaL_pushresultsize(&out, len);
    return len > 0 ? 1 : 0;
}

/* rate_of(19) → "0.19", rate_of("8.875") → "0.08875": of a percentage, to nine decimals; nil where it is
 * below 0. */
static int map_rate_of(lua_State *L) {
    char room[NUMBER_BYTES_MAX], digits[64];
    struct str text = number_arg(L, 1, room, "rate_of");
    int64_t percent; /* scaled by RATE_SCALE - 2: its hundredth by RATE_SCALE is the same number */
    if (!decimal_round(text, RATE_SCALE - 2, &percent))
        return luaL_error(L, "rate_of: \"%s\" is no number", lua_pushlstring(L, text.ptr, text.len));
    if (percent < 0)
        return 0;
    struct buf out = fixed_buf(digits, sizeof digits);
    decimal_write(&out, percent, RATE_SCALE);
    push_buf(L, out.data, out.len);
    return 1;
}

/* listed(list, value): whether the value is one of the list's. */
static int map_listed(lua_State *L) {
    bool found = false;
    lua_Integer count = luaL_len(L, 1);
    for (lua_Integer i = 1; i <= count && !found; i++) {
        sandbox_charge(L, 1);
        lua_geti(L, 1, i);
        found = lua_compare(L, -1, 2, LUA_OPEQ);
        lua_pop(L, 1);
    }
    lua_pushboolean(L, found);
    return 1;
}

/* fail("…"): the mapping refuses the document, with the reason a person will read. */
static int map_fail(lua_State *L) {
    return luaL_error(L, "%s", luaL_checkstring(L, 1));
}

const luaL_Reg helper_functions[] = {
    {"money", map_money},     {"money_text", map_money_text}, {"decimal", map_decimal},
    {"mul_div", map_mul_div}, {"instant", map_instant},       {"fail", map_fail},
    {"number", map_number},   {"base64", map_base64},         {"filled", map_filled},
    {"code_of", map_code_of}, {"rate_of", map_rate_of},       {"listed", map_listed},
    {NULL, NULL},
};
