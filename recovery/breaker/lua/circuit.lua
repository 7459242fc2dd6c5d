-- Put after sound.lua in front of every other script here: reads, changes, writes and announces one breaker. The law is circuit.py; this
-- is its twin.
--
-- KEYS[1]  recovery:breaker:{<name>}          hash, see FIELDS; times are ms of Redis's clock, '' for none
-- KEYS[2]  recovery:breaker:{<name>}:permits  sorted set: permit -> ms when it stops to count; the probes under way
-- KEYS[3]  recovery:breaker:{<name>}:calls    list of batches, oldest first, see window.lua
-- KEYS[4]  recovery:breaker:{<name>}:votes    sorted set: process -> ms until which its own opening counts, renewed (quorum above 1)
-- KEYS[5]  recovery:breakers                  set of the names of all breakers
-- KEYS[6]  recovery:breaker:history           stream, about the last 10,000 changes of what is shown: name, service, at (ms), from, to,
--                                             reason, trips, streak, by. `to` may also be `would_open` (mode metrics_only).
-- ARGV[1]  name
-- ARGV[2]  the caller's options as a JSON object, durations in ms; '' for those stored before
-- ARGV[3]  now, in ms; '' for Redis's clock, which is what every process of a fleet should use
-- ARGV[4]  chance, from 0 up to but not including 1, for the jitter of the open time
-- ARGV[5]  who asks, for the history
-- A script's own arguments begin at ARGV[6].
--
-- Channel  recovery:breaker:changed           the breaker as JSON, see `encoded`, whenever callers must know of a change
-- Every script answers {the breaker as JSON, ...}.

local FIELDS = { 'state', 'mode', 'mode_at', 'mode_until', 'mode_by', 'mode_reason', 'shown', 'successes', 'stage', 'stage_until',
                 'opened_at', 'retry_at', 'repairing_until', 'streak', 'trips', 'reason', 'version', 'calls', 'failures', 'slow',
                 'in_a_row', 'warned' }
local COUNTS = { 'successes', 'stage', 'streak', 'trips', 'calls', 'failures', 'slow', 'in_a_row', 'warned' }
local TIMES = { 'mode_at', 'mode_until', 'stage_until', 'opened_at', 'retry_at', 'repairing_until' }
local DEFAULTS = '{"failure_threshold": 5, "minimum_requests": 20, "window_calls": 100, "slow_call_rate": 1, "success_threshold": 2, ' ..
  '"half_open_requests": 3, "permit_timeout": 60000, "reset_timeout": 60000, "backoff_factor": 2, "max_reset_timeout": 600000, ' ..
  '"jitter": 0.1, "ramp_stage": 10000, "quorum": 1, "mode": "auto", "service": ""}'
local HISTORY = 10000

local time = redis.call('TIME')
local now_us = ARGV[3] ~= '' and tonumber(ARGV[3]) * 1000 or time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
local function whole(number) return string.format('%.0f', number) end

-- Returns the options in force: the caller's, which are kept, else those kept before; and what is wrong with the latter.
local function options()
  local kept, service = unpack(redis.call('HMGET', KEYS[1], 'options', 'service'))
  if ARGV[2] ~= '' and ARGV[2] ~= kept then
    kept = ARGV[2]
    redis.call('HSET', KEYS[1], 'options', kept)
  end
  local told = kept == ARGV[2] and cjson.decode(kept) or options_in(kept or DEFAULTS)
  if not told then return nil, spoiled('options', kept) end
  if kept and service ~= told.service then redis.call('HSET', KEYS[1], 'service', told.service) end -- a copy, see board.py
  return told
end

local circuit, chosen, wrong = {}, options()

local function load()
  local values = redis.call('HMGET', KEYS[1], unpack(FIELDS))
  for index, field in ipairs(FIELDS) do circuit[field] = values[index] or '' end
  local field = nonsense(circuit, COUNTS, TIMES)
  if field then return spoiled(field, circuit[field]) end
  circuit.known = circuit.state ~= ''
  for _, field in ipairs(COUNTS) do circuit[field] = tonumber(circuit[field]) or 0 end
  for _, field in ipairs(TIMES) do circuit[field] = tonumber(circuit[field]) end
  if circuit.mode == 'auto' then -- an older release that ends an order does not know these, and leaves them
    circuit.mode_until, circuit.mode_by, circuit.mode_reason = nil, '', ''
  end
  if not circuit.known then circuit.state, circuit.mode, circuit.version = 'closed', 'auto', whole(now_us) end
end

local function mode_in_force() return circuit.mode == 'auto' and chosen.mode or circuit.mode end

local function shown(at)
  local mode = mode_in_force()
  if mode ~= 'auto' then return mode end
  local repairing = circuit.state == 'open' and circuit.repairing_until and at < circuit.repairing_until
  return repairing and 'repairing' or circuit.state
end

-- Returns the breaker as callers and the platform read it. Numbers too long for JSON's are text.
local function encoded()
  local view = { name = ARGV[1], now = now, shown = shown(now), service = chosen.service, votes = 0,
                 ramp = chosen.ramp and chosen.ramp[circuit.stage] or nil }
  for _, field in ipairs(FIELDS) do
    if field ~= 'shown' then view[field] = circuit[field] end
  end
  if (chosen.quorum or 1) > 1 then view.votes = redis.call('ZCOUNT', KEYS[4], '(' .. whole(now), whole(now + LONGEST)) end
  return cjson.encode(view)
end

local function tell_history(at, from, to, reason)
  if not is_sound(6) then return end -- what lies there costs whoever reads it, no breaker
  redis.call('XADD', KEYS[6], 'MAXLEN', '~', HISTORY, '*', 'name', ARGV[1], 'service', chosen.service or '', 'at', whole(at), 'from', from,
    'to', to, 'reason', reason, 'trips', circuit.trips, 'streak', circuit.streak, 'by', ARGV[5])
end

-- Notes what people see since `at`; called after every step, so that the history has each of them.
local function note(at, reason)
  local after, before = shown(at), circuit.shown == '' and 'closed' or circuit.shown
  circuit.shown = after
  circuit.push = true
  if after ~= before then tell_history(at, before, after, reason) end
end

-- Returns what may be written for a field: a value that cannot grow further stays the largest that is sound, so that no breaker spoils
-- itself and no process remembers what would spoil it again after each reset.
local function kept_within(value, limit) return value and math.max(0, math.min(value, limit - 1)) end

-- Writes what changed, tells the callers if they must know, and returns the answer of the script.
local function answer(...)
  if circuit.push or circuit.dirty then
    circuit.version = whole(kept_within(math.max(now_us, tonumber(circuit.version) + 1), NEWEST))
    for _, field in ipairs(COUNTS) do circuit[field] = kept_within(circuit[field], MOST_TOLD) end
    for _, field in ipairs(TIMES) do circuit[field] = kept_within(circuit[field], MOST_TOLD) end
    local pairs_ = {}
    for _, field in ipairs(FIELDS) do
      local value = circuit[field]
      pairs_[#pairs_ + 1] = field
      pairs_[#pairs_ + 1] = type(value) == 'number' and whole(value) or value or ''
    end
    redis.call('HSET', KEYS[1], unpack(pairs_))
    if not circuit.known and is_sound(5) then redis.call('SADD', KEYS[5], ARGV[1]) end
  end
  local view = encoded()
  if circuit.push then redis.call('PUBLISH', 'recovery:breaker:changed', view) end
  return { view, ... }
end

-- --- transitions, as in circuit.py ---

local function forget_counts()
  circuit.calls, circuit.failures, circuit.slow, circuit.in_a_row = 0, 0, 0, 0
  redis.call('DEL', KEYS[3])
end

local function open(reason)
  local ceiling = math.max(chosen.max_reset_timeout, chosen.reset_timeout)
  local grown = math.min(ceiling, chosen.reset_timeout * chosen.backoff_factor ^ circuit.streak)
  circuit.state, circuit.successes, circuit.stage, circuit.stage_until = 'open', 0, 0, nil
  circuit.opened_at = now
  circuit.retry_at = now + math.floor(math.min(ceiling, grown * (1 + chosen.jitter * (2 * tonumber(ARGV[4]) - 1))) + 0.5)
  circuit.streak, circuit.trips, circuit.reason = circuit.streak + 1, circuit.trips + 1, reason
  redis.call('DEL', KEYS[2], KEYS[4])
  note(now, circuit.reason)
end

local function half_open(reason)
  circuit.state, circuit.successes, circuit.stage, circuit.stage_until, circuit.retry_at = 'half_open', 0, 0, nil, nil
  redis.call('DEL', KEYS[2])
  note(now, reason)
end

local function close(at, reason)
  circuit.state, circuit.successes, circuit.stage, circuit.stage_until = 'closed', 0, 0, nil
  circuit.opened_at, circuit.retry_at, circuit.repairing_until, circuit.streak, circuit.reason = nil, nil, nil, 0, ''
  forget_counts()
  redis.call('DEL', KEYS[2], KEYS[4])
  note(at, reason)
end

-- Counts one proof that the dependency works; enough of them begin the ramp, or close.
local function prove()
  circuit.successes, circuit.dirty = circuit.successes + 1, true
  if circuit.successes < chosen.success_threshold then return end
  if not chosen.ramp then return close(now, 'enough probes succeeded') end
  circuit.stage, circuit.stage_until, circuit.push = 1, now + chosen.ramp_stage, true
  forget_counts()
  redis.call('DEL', KEYS[2])
end

-- The latest order holds, also against what processes remember: it bears a later time than the one before, whatever the clock says.
local function order(mode, at, until_, by, reason)
  at = math.max(at, (circuit.mode_at or 0) + 1)
  circuit.mode, circuit.mode_at, circuit.mode_until, circuit.mode_by, circuit.mode_reason, circuit.warned = mode, at, until_, by, reason, 0
end

-- Ends an order whose time is over.
local function obey()
  local until_ = circuit.mode_until
  if not until_ or now < until_ then return end
  order('auto', until_, nil, '', '')
  close(until_, 'the time of the order was over')
end

-- Does what time alone does: an order ends, and so do the stages of the ramp and the mark of a recovery that nobody renews.
local function advance()
  obey()
  while circuit.state == 'half_open' and circuit.stage_until and now >= circuit.stage_until do
    if circuit.stage >= #(chosen.ramp or {}) then
      close(circuit.stage_until, 'the ramp is over')
    else
      circuit.stage, circuit.stage_until, circuit.push = circuit.stage + 1, circuit.stage_until + chosen.ramp_stage, true
    end
  end
  if circuit.repairing_until and now >= circuit.repairing_until then
    local until_ = circuit.repairing_until
    circuit.repairing_until = nil
    note(until_, 'nobody says any more that a recovery is at work')
  end
  if circuit.known and circuit.shown ~= shown(now) then note(now, 'the option `mode`') end
end

wrong = wrong or load()
if wrong then return wrong end
advance()
