-- Put in front of every other script here: tells what no breaker can have under its keys, so that it costs that breaker alone.
--
-- The answer is then the error `SPOILED <key> <what is wrong with it>`; callers go on without the fleet until that is gone, see reached.py.
-- Three things mend themselves: batches that nobody can read cost the window (window.lua), permits and votes that nobody can have been
-- given are dropped (admit.lua, vote.lua), the copy of the service is written again (circuit.lua). Keys and ARGV: see circuit.lua.

local KINDS = { 'hash', 'zset', 'list', 'zset', 'set', 'stream' }
local MODES = { auto = true, metrics_only = true, disabled = true, forced_open = true }
local STATES = { closed = true, open = true, half_open = true }
local SHOWN = { closed = true, open = true, half_open = true, repairing = true, metrics_only = true, disabled = true, forced_open = true }
local LONGEST = 86400000 -- ms; nothing is promised for longer than a day
local MOST = 9007199254740992 -- above it Lua does not tell whole numbers apart
local NEWEST = 4503599627370496 -- 2^52; versions begin at Redis's clock in us, which comes there in 2112
local MOST_TOLD = 100000000000000 -- above it cjson does not; of counts, and of times: ms of the year 5138
local NEEDED = { 'minimum_requests', 'slow_call_rate', 'success_threshold', 'half_open_requests', 'permit_timeout', 'reset_timeout',
                 'backoff_factor', 'max_reset_timeout', 'jitter', 'ramp_stage', 'quorum' }
local OPTIONAL = { 'failure_threshold', 'failure_rate', 'slow_call_duration', 'window_calls', 'window' }

-- Says whether there is nothing under the key yet or what belongs there, and what there is.
local function is_sound(place)
  local found = redis.call('TYPE', KEYS[place]).ok
  return found == 'none' or found == KINDS[place], found
end

local function spoiled(field, value)
  local shown = value == '' and 'no value' or "'" .. string.gsub(string.sub(value, 1, 40), '[^%w%p ]', '?') .. "'"
  return redis.error_reply(string.format('SPOILED %s has %s as its %s', KEYS[1], shown, field))
end

local function is_below(limit, text) return string.match(text, '^%d+$') and #text <= 16 and tonumber(text) < limit end

-- Returns the name of the first field of a hash, as text, that no breaker can have; nil if all is well.
local function nonsense(fields, counts, times)
  local known = fields.state ~= ''
  if known and not STATES[fields.state] or not known and (fields.version ~= '' or fields.trips ~= '') then return 'state' end
  if known and not MODES[fields.mode] then return 'mode' end
  if known and not is_below(NEWEST, fields.version) then return 'version' end
  if fields.shown ~= '' and not SHOWN[fields.shown] then return 'shown' end
  for _, numbers in ipairs({ counts, times }) do
    for _, field in ipairs(numbers) do
      if fields[field] ~= '' and not is_below(MOST_TOLD, fields[field]) then return field end
    end
  end
end

-- As `NAME` in options.py; empty: the name of the breaker.
local function is_service(text)
  return type(text) == 'string' and (text == '' or #text <= 100 and string.match(text, '^%w[%w_.-]*$') ~= nil)
end

local function is_number(value) return type(value) == 'number' and value >= 0 and value < MOST end

-- Returns the options in a JSON object, nil if no breaker can have them.
local function options_in(text)
  local is_json, told = pcall(cjson.decode, text)
  if not is_json or type(told) ~= 'table' or not MODES[told.mode] or not is_service(told.service) then return nil end
  for _, name in ipairs(NEEDED) do
    if not is_number(told[name]) then return nil end
  end
  for _, name in ipairs(OPTIONAL) do
    if told[name] ~= nil and not is_number(told[name]) then return nil end
  end
  if told.ramp ~= nil and type(told.ramp) ~= 'table' then return nil end
  for _, percent in ipairs(told.ramp or {}) do
    if not is_number(percent) then return nil end
  end
  return told
end

for place = 1, 4 do
  local sound, found = is_sound(place)
  if not sound then return redis.error_reply(string.format('SPOILED %s is a %s and no %s', KEYS[place], found, KINDS[place])) end
end
