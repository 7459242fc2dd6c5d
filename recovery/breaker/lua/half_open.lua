-- Lets probes through before the open time is over; any but an open breaker stays as it is. Keys and ARGV[1..5]: see circuit.lua.
-- ARGV[6]  why
if circuit.state == 'open' then half_open(ARGV[6]) end
return answer()
