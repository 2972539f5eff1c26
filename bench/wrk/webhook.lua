-- POST /x/shopify/orders-create: every message another order, signed as the platform signs:
-- base64 of the HMAC-SHA256 of the body. The HMAC is that of the OpenSSL that wrk is linked with
-- (5 us for 5 KB). A template's number is 13 digits. BENCH_SECRET is the signing secret,
-- BENCH_TARGET the path.
package.path = os.getenv("BENCH_DIR") .. "/?.lua;" .. package.path
require("common")

local ffi = require("ffi")
ffi.cdef [[
  const void *EVP_sha256(void);
  unsigned char *HMAC(const void *md, const void *key, int key_bytes, const unsigned char *data,
                      size_t bytes, unsigned char *digest, unsigned int *digest_bytes);
  int EVP_EncodeBlock(unsigned char *text, const unsigned char *data, int bytes);
]]

local MARK, sent = string.rep("7", 13), 0
local digest, text = ffi.new("unsigned char[32]"), ffi.new("unsigned char[48]")
local secret = os.getenv("BENCH_SECRET")
local templates, head

function init(args)
  templates = lines_of(os.getenv("BENCH_FILE"))
  for i, body in ipairs(templates) do templates[i] = cut(body, MARK) end
  head = "POST " .. os.getenv("BENCH_TARGET") .. " HTTP/1.1\r\nHost: " .. wrk.host
    .. "\r\nContent-Type: application/json\r\nX-Shopify-Topic: orders/create"
    .. "\r\nX-Shopify-Shop-Domain: bench.myshopify.com\r\nX-Shopify-API-Version: 2024-10"
    .. "\r\nX-Shopify-Webhook-Id: %s\r\nX-Shopify-Hmac-Sha256: %s\r\nContent-Length: %d\r\n\r\n"
  sent = math.floor(#templates / 2) * thread_number
  prefix = string.format("1%s%d", os.getenv("BENCH_RUN"), thread_number % 10)
end

function request()
  sent = sent + 1
  local number = string.format("%s%09d", prefix, sent)
  local body = table.concat(templates[sent % #templates + 1], number)
  ffi.C.HMAC(ffi.C.EVP_sha256(), secret, #secret, body, #body, digest, nil)
  ffi.C.EVP_EncodeBlock(text, digest, 32)
  return head:format("w-" .. number, ffi.string(text, 44), #body) .. body
end
