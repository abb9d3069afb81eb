-- wrk: every request is another buyer's, with a token and an Idempotency-Key of its own.
-- Arguments after `--`: 1 file of tokens, one a line  2 first line of this run's slice (from 0)
-- 3 lines in the slice  4 threads  5 path  6 authority  7 key prefix  8 requests per second, or 0
-- for as fast as answered. At a rate, requests follow a timetable whatever the answers take, as
-- long as there are connections free.
-- A slice that is used up starts again with other keys; `laps` in the result counts the restarts.
-- Prints one line `bench-result {JSON}`.

local threads = {}
local tokens, positions, position, stride, head, middle, tail = {}, 0, 0, 1, '', '', ''
lap = 0 -- read from outside by thread:get

function setup(thread)
  thread:set('slot', #threads)
  threads[#threads + 1] = thread
end

local function keep_timetable(rate)
  local ffi = require('ffi')
  ffi.cdef[[
    typedef struct { long seconds; long nanoseconds; } bench_time;
    int clock_gettime(int clock, bench_time *time);
  ]]
  local time, sent, started = ffi.new('bench_time'), 0, nil
  local function now_ms()
    ffi.C.clock_gettime(1, time)
    return tonumber(time.seconds) * 1000 + tonumber(time.nanoseconds) / 1000000
  end
  delay = function()
    local now = now_ms()
    started = started or now
    local due = started + sent * 1000 / rate
    sent = sent + 1
    return math.max(0, math.floor(due - now + 0.5))
  end
end

function init(args)
  local first, count, rate = tonumber(args[2]), tonumber(args[3]), tonumber(args[8])
  stride = tonumber(args[4])
  local line_number = 0
  for line in io.lines(args[1]) do
    if line_number >= first and line_number < first + count
       and (line_number - first) % stride == slot then
      tokens[#tokens + 1] = line
    end
    line_number = line_number + 1
  end
  positions = #tokens
  local body = '{"lines":[{"sku":"BENCH","quantity":1}]}'
  head = 'POST ' .. args[5] .. ' HTTP/1.1\r\nHost: ' .. args[6]
    .. '\r\nContent-Type: application/json\r\nContent-Length: ' .. #body
    .. '\r\nAuthorization: Bearer '
  middle = '\r\nIdempotency-Key: ' .. args[7] .. '-' .. slot .. '-'
  tail = '\r\n\r\n' .. body
  if rate > 0 then keep_timetable(rate / stride) end
end

function request()
  position = position + 1
  if position > positions then
    position, lap = 1, lap + 1
  end
  return head .. tokens[position] .. middle .. lap .. '-' .. position .. tail
end

function done(summary, latency)
  local laps = 0
  for _, thread in ipairs(threads) do laps = math.max(laps, thread:get('lap')) end
  local errors = summary.errors
  print(string.format('bench-result {"requests":%d,"seconds":%f,"refused":%d,"failed":%d,'
    .. '"p50_ms":%f,"p99_ms":%f,"max_ms":%f,"laps":%d}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3, laps))
end
