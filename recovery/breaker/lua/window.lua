-- Put after circuit.lua by the scripts that count calls. The law is judgement.py; this is its twin.
--
-- KEYS[3] holds batches "at calls failures slow", in ms and numbers, oldest first. In a batch the failures and slow calls count as the
-- last calls: processes tell of each at once, with the successes before it (only sums made in an absence of Redis have some earlier).
-- The sums are in the hash.

local STEPS = 10 -- a window of seconds moves in steps of a tenth of it

local function forget_window()
  circuit.calls, circuit.failures, circuit.slow, circuit.dirty = 0, 0, 0, true
  redis.call('DEL', KEYS[3])
end

-- Returns one batch, nil if there is none; one that cannot be in this window costs all that the window holds, which is a new one then.
local function batch_at(place)
  local batch = redis.call('LINDEX', KEYS[3], place)
  if not batch then return nil end
  local at, calls, failures, slow = string.match(batch, '^(%d+) (%d+) (%d+) (%d+)$')
  at, calls, failures, slow = tonumber(at), tonumber(calls), tonumber(failures), tonumber(slow)
  local sound = at and at <= now + LONGEST and calls <= circuit.calls and failures <= circuit.failures and slow <= circuit.slow
  if not sound then return forget_window() end
  return at, calls, failures, slow
end

local function add(calls, failures, slow)
  circuit.calls, circuit.failures, circuit.slow = circuit.calls + calls, circuit.failures + failures, circuit.slow + slow
end

-- Drops what left the window.
local function trim()
  local span = chosen.window and chosen.window / STEPS
  local at, calls, failures, slow = batch_at(0)
  while at do
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
    at, calls, failures, slow = batch_at(0)
  end
end

-- Counts calls of which the last `run` failed in a row; `broken`: there was a success before those, so an earlier run is over.
local function count(calls, failures, slow, run, broken)
  circuit.dirty = true
  circuit.in_a_row = (broken and 0 or circuit.in_a_row) + run
  local span = chosen.window and chosen.window / STEPS
  local at, more, bad, tardy = now, calls, failures, slow
  if span then
    local last, c, f, s = batch_at(-1)
    if last and math.floor(last / span) == math.floor(now / span) then
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
