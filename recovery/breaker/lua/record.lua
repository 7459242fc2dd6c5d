-- Counts the end of calls. Keys and ARGV[1..2]: see circuit.lua.
-- ARGV[3]  ok | failed | void
-- ARGV[4]  the permit of the call, 'probe' for a probe by a recovery, '' for a call made while closed
-- ARGV[5]  how many calls in a row ended so
-- ARGV[6]  the failure, in one sentence
-- The answer's last element: 1 if this opened the breaker.
local circuit, chosen, result, permit = load(), options(), ARGV[3], ARGV[4]
local before = circuit.state

if circuit.state == 'closed' then
  if result == 'failed' then
    circuit.failures = circuit.failures + tonumber(ARGV[5])
    if circuit.failures >= chosen.failure_threshold then open(circuit, chosen, ARGV[6]) end
  elseif result == 'ok' and circuit.failures > 0 then
    circuit.failures = 0
  elseif circuit.known then
    return answer(circuit, 0)
  end
elseif circuit.state == 'half_open' and (redis.call('ZREM', KEYS[2], permit) == 1 or permit == 'probe') then
  if result == 'failed' then
    open(circuit, chosen, ARGV[6])
  elseif result == 'ok' then
    circuit.successes = circuit.successes + 1
    if circuit.successes >= chosen.success_threshold then close(circuit) end
  end
else
  return answer(circuit, 0)
end

save(circuit)
if circuit.state ~= before then announce(circuit) end
return answer(circuit, (circuit.state == 'open' and before ~= 'open') and 1 or 0)
