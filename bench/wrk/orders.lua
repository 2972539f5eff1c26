-- POST /v1/orders: every order new, with an Idempotency-Key. A template's number is 16 characters.
package.path = os.getenv("BENCH_DIR") .. "/?.lua;" .. package.path
require("common")

local MARK, sent = string.rep("@", 16), 0
local templates

function init(args)
  local head = "POST /v1/orders HTTP/1.1\r\nHost: " .. wrk.host
    .. "\r\nAuthorization: Bearer " .. os.getenv("BENCH_KEY")
    .. "\r\nContent-Type: application/json\r\nIdempotency-Key: " .. MARK
    .. "\r\nContent-Length: %d\r\n\r\n"
  templates = lines_of(os.getenv("BENCH_FILE"))
  for i, body in ipairs(templates) do
    templates[i] = cut(head:format(#body) .. body, MARK)
  end
  -- threads begin at different templates
  sent = math.floor(#templates / 2) * thread_number
  prefix = string.format("R%sT%02d", os.getenv("BENCH_RUN"), thread_number)
end

function request()
  sent = sent + 1
  return table.concat(templates[sent % #templates + 1],
    string.format("%s%010d", prefix, sent))
end
