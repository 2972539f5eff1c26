-- Requests at a pace: every connection sends, waits for the answer, and pauses. What is sent is
-- BENCH_METHOD and, by line of BENCH_FILE, "PATH" or "PATH BODY"; 16 @ become a number.
--   BENCH_PAUSE_MS  mean of the pause, even between none and twice that; 0: as fast as it goes
package.path = os.getenv("BENCH_DIR") .. "/?.lua;" .. package.path
require("common")

local MARK, sent = string.rep("@", 16), 0
local templates
local pause_ms = tonumber(os.getenv("BENCH_PAUSE_MS") or "0")

function init(args)
  local method = os.getenv("BENCH_METHOD")
  templates = lines_of(os.getenv("BENCH_FILE"))
  for i, line in ipairs(templates) do
    local path, body = line:match("^(%S+) ?(.*)$")
    local head = method .. " " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host
      .. "\r\nAuthorization: Bearer " .. os.getenv("BENCH_KEY")
    if method ~= "GET" then
      head = head .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body
    end
    templates[i] = cut(head .. "\r\n\r\n" .. body, MARK)
  end
  sent = math.floor(#templates / 2) * thread_number
  prefix = string.format("R%sT%02d", os.getenv("BENCH_RUN"), thread_number)
  math.randomseed(thread_number + 1)
end

function request()
  sent = sent + 1
  return table.concat(templates[sent % #templates + 1],
    string.format("%s%010d", prefix, sent))
end

if pause_ms > 0 then
  function delay()
    return math.random(0, 2 * pause_ms)
  end
end
