-- Ends the mark of a recovery that was verified, and lets callers probe an open breaker at once; it never closes one.
-- Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  why
-- After the breaker: 1 if it was open.
local was_open = circuit.state == 'open'
if circuit.repairing_until then circuit.repairing_until, circuit.push = nil, true end
if was_open then half_open(ARGV[6]) end
return answer(was_open and 1 or 0)
