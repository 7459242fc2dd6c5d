-- Put after circuit.lua by the scripts that count calls. The law is judgement.py; this is its twin.
--
-- KEYS[3] holds batches "at calls failures slow", in ms and numbers, oldest first. In a batch the failures and slow calls count as the
-- last calls: processes tell of each at once, with the successes before it (only sums made in an absence of Redis have some earlier).
-- The sums are in the hash.

local STEPS = 10 -- a window of seconds moves in steps of a tenth of it

local function parts(batch)
  local at, calls, failures, slow = string.match(batch, '(%d+) (%d+) (%d+) (%d+)')
  return tonumber(at), tonumber(calls), tonumber(failures), tonumber(slow)
end

local function add(calls, failures, slow)
  circuit.calls, circuit.failures, circuit.slow = circuit.calls + calls, circuit.failures + failures, circuit.slow + slow
end

-- Drops what left the window.
local function trim()
  local span = chosen.window and chosen.window / STEPS
  local oldest = redis.call('LINDEX', KEYS[3], 0)
  while oldest do
    local at, calls, failures, slow = parts(oldest)
    local over = chosen.window_calls and circuit.calls - chosen.window_calls or 0
    local gone = span and math.floor(at / span) <= math.floor(now / span) - STEPS
    if not gone and over <= 0 then return end
    circuit.dirty = true
    if not gone and over < calls then -- a part of it leaves: the oldest calls
      local left = calls - over
      add(-over, math.min(failures, left) - failures, math.min(slow, left) - slow)
      redis.call('LSET', KEYS[3], 0, string.format('%.0f %d %d %d', at, left, math.min(failures, left), math.min(slow, left)))
      return
    end
    add(-calls, -failures, -slow)
    redis.call('LPOP', KEYS[3])
    oldest = redis.call('LINDEX', KEYS[3], 0)
  end
end

-- Counts calls of which the last `run` failed in a row; `broken`: there was a success before those, so an earlier run is over.
local function count(calls, failures, slow, run, broken)
  circuit.dirty = true
  circuit.in_a_row = (broken and 0 or circuit.in_a_row) + run
  local newest, span = redis.call('LINDEX', KEYS[3], -1), chosen.window and chosen.window / STEPS
  local at, more, bad, tardy = now, calls, failures, slow
  if span and newest then
    local last, c, f, s = parts(newest)
    if math.floor(last / span) == math.floor(now / span) then
      redis.call('RPOP', KEYS[3])
      at, more, bad, tardy = last, c + calls, f + failures, s + slow
    end
  end
  redis.call('RPUSH', KEYS[3], string.format('%.0f %d %d %d', at, more, bad, tardy))
  add(calls, failures, slow)
  trim()
end

local function verdict()
  local run, calls = circuit.in_a_row, circuit.calls
  if chosen.failure_threshold and run >= chosen.failure_threshold then
    return string.format('%d failure%s in a row', run, run > 1 and 's' or '')
  end
  if calls < chosen.minimum_requests then return '' end
  if chosen.failure_rate and circuit.failures >= chosen.failure_rate * calls then
    return string.format('%d of %d calls failed', circuit.failures, calls)
  end
  if chosen.slow_call_duration and circuit.slow >= chosen.slow_call_rate * calls then
    return string.format('%d of %d calls took %g s or longer', circuit.slow, calls, chosen.slow_call_duration)
  end
  return ''
end

-- Counts the batches of calls in ARGV from `first` on, five arguments each, as in `Ended` of fleet.py: successes before, then how many
-- calls ended alike, whether they failed (1 or 0), how many of them were slow, failures before all of them. Opens if the counts say so,
-- and returns 1 then.
local function take(first, last_failure)
  local mode = mode_in_force()
  if mode == 'disabled' or mode == 'forced_open' then return 0 end
  for place = first, #ARGV - 4, 5 do
    if circuit.state ~= 'closed' and circuit.stage == 0 then return 0 end -- tells nothing new: it is open, or probes decide
    local before, calls, failed, slow = tonumber(ARGV[place]), tonumber(ARGV[place + 1]), ARGV[place + 2] == '1', tonumber(ARGV[place + 3])
    local earlier = tonumber(ARGV[place + 4])
    count(earlier + before + calls, earlier + (failed and calls or 0), slow, failed and calls or 0, before > 0 or not failed)
    local why = chosen.quorum > 1 and '' or verdict()
    if why == '' then
      circuit.warned = 0
    else
      if last_failure ~= '' then why = why .. ', at last ' .. last_failure end
      if mode == 'auto' then
        open(why)
        return 1
      end
      if circuit.warned == 0 then tell_history(now, circuit.shown, 'would_open', why) end
      circuit.warned = 1
    end
  end
  return 0
end
