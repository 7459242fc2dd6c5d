-- Put in front of every other script here: reads, writes and announces one breaker.
--
-- KEYS[1]  recovery:breaker:<name>          hash: state (closed | open | half_open), failures, successes, trips, reason,
--                                           opened_at and retry_at (ms of Redis time, '' for none),
--                                           version (us of Redis time, rises with every change),
--                                           failure_threshold, success_threshold, half_open_requests, reset_timeout, permit_timeout (ms)
-- KEYS[2]  recovery:breaker:<name>:permits  sorted set: permit -> ms of Redis time when it stops to count; the probes under way
-- KEYS[3]  recovery:breakers                set of the names of all breakers
-- ARGV[1]  name
-- ARGV[2]  the caller's options as a JSON object of numbers, '' for those stored before
--
-- Channel  recovery:breaker:changed         {"name", "state", "failures", "trips", "version", "retry_in" (ms)}
-- Every script answers {state, failures, successes, opened_at, retry_at, trips, reason, version, now (ms), ...}.

local DEFAULTS = { failure_threshold = 5, success_threshold = 2, half_open_requests = 3, reset_timeout = 60000, permit_timeout = 60000 }
local FIELDS = { 'state', 'failures', 'successes', 'opened_at', 'retry_at', 'trips', 'reason', 'version' }

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)
local function whole(number) return string.format('%.0f', number) end

local function load()
  local values = redis.call('HMGET', KEYS[1], unpack(FIELDS))
  local circuit = { known = values[1] ~= false }
  for index, field in ipairs(FIELDS) do circuit[field] = values[index] or '' end
  if not circuit.known then circuit.state, circuit.version = 'closed', whole(now_us) end
  for _, field in ipairs({ 'failures', 'successes', 'trips' }) do circuit[field] = tonumber(circuit[field]) or 0 end
  circuit.retry_at_ms = tonumber(circuit.retry_at) or now
  return circuit
end

local function options()
  local chosen = {}
  for option, default in pairs(DEFAULTS) do chosen[option] = tonumber(redis.call('HGET', KEYS[1], option)) or default end
  if ARGV[2] ~= '' then
    for option, value in pairs(cjson.decode(ARGV[2])) do
      chosen[option] = value
      redis.call('HSET', KEYS[1], option, whole(value))
    end
  end
  return chosen
end

local function save(circuit)
  circuit.version = whole(math.max(now_us, tonumber(circuit.version) + 1))
  local pairs_ = {}
  for _, field in ipairs(FIELDS) do
    pairs_[#pairs_ + 1] = field
    pairs_[#pairs_ + 1] = tostring(circuit[field])
  end
  redis.call('HSET', KEYS[1], unpack(pairs_))
  redis.call('SADD', KEYS[3], ARGV[1])
end

local function announce(circuit)
  local retry_in = circuit.state == 'open' and math.max(0, circuit.retry_at_ms - now) or 0
  redis.call('PUBLISH', 'recovery:breaker:changed', string.format(
    '{"name": %s, "state": "%s", "failures": %d, "trips": %d, "version": %s, "retry_in": %s}',
    cjson.encode(ARGV[1]), circuit.state, circuit.failures, circuit.trips, circuit.version, whole(retry_in)))
end

local function open(circuit, chosen, reason)
  circuit.state, circuit.successes, circuit.trips, circuit.reason = 'open', 0, circuit.trips + 1, reason
  circuit.opened_at, circuit.retry_at_ms = whole(now), now + chosen.reset_timeout
  circuit.retry_at = whole(circuit.retry_at_ms)
  redis.call('DEL', KEYS[2])
end

local function half_open(circuit)
  circuit.state, circuit.successes = 'half_open', 0
  redis.call('DEL', KEYS[2])
end

local function close(circuit)
  circuit.state, circuit.failures, circuit.successes, circuit.reason = 'closed', 0, 0, ''
  circuit.opened_at, circuit.retry_at = '', ''
  redis.call('DEL', KEYS[2])
end

local function answer(circuit, ...)
  return { circuit.state, circuit.failures, circuit.successes, circuit.opened_at, circuit.retry_at, circuit.trips, circuit.reason,
           circuit.version, now, ... }
end
