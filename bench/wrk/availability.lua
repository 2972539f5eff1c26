-- GET /v1/availability of one SKU at one location; the file holds the targets.
package.path = os.getenv("BENCH_DIR") .. "/?.lua;" .. package.path
require("common")

local sent = 0
local requests

function init(args)
  requests = lines_of(os.getenv("BENCH_FILE"))
  for i, path in ipairs(requests) do
    requests[i] = "GET " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host
      .. "\r\nAuthorization: Bearer " .. os.getenv("BENCH_KEY") .. "\r\n\r\n"
  end
  sent = math.floor(#requests / 2) * thread_number
end

function request()
  sent = sent + 1
  return requests[sent % #requests + 1]
end
