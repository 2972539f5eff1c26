-- What the scripts for wrk share: thread numbers, templates from a file, and a result that a
-- program can read. The environment says the rest:
--   BENCH_FILE  templates, one per line     BENCH_KEY  the API key     BENCH_RUN  two digits,
--   another in every run, so that no number is ever sent twice
local threads = 0

function setup(thread)
  thread:set("thread_number", threads)
  threads = threads + 1
end

function lines_of(path)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  if #lines == 0 then error("no templates in " .. path) end
  return lines
end

-- A text cut at every place where `mark` stands: {piece, piece, …}, put together with a
-- number between each two by table.concat.
function cut(text, mark)
  local pieces, from = {}, 1
  while true do
    local at = text:find(mark, from, true)
    if not at then break end
    pieces[#pieces + 1] = text:sub(from, at - 1)
    from = at + #mark
  end
  pieces[#pieces + 1] = text:sub(from)
  return pieces
end

-- One line of JSON on stdout, after "RESULT ".
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"bytes":%d,"status_errors":%d,"socket_errors":%d,'
    .. '"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
